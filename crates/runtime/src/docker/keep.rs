//! Retains images for a rollback: each gets a tag of gapless's own, so that cleanups of untagged images spare it. An
//! image that is no longer retained loses the tag, and with its last tag its disk space.

use super::connection::{Connection, Problem, ignore_statuses};
use crate::RuntimeError;
use bollard::query_parameters::{ListImagesOptionsBuilder, RemoveImageOptionsBuilder, TagImageOptionsBuilder};
use gapless_core::{AppKey, Artifacts};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The first part of the tags' names. As a registry it is unreachable, so that nothing is ever pulled by such a tag.
const REGISTRY: &str = "gapless.invalid";

/// Tags the images of `kept`, by service and release number, and removes the tags of the application's other images.
pub(super) async fn keep(
    engine: &Connection,
    key: &AppKey,
    kept: &BTreeMap<u64, Artifacts>,
) -> Result<(), RuntimeError> {
    let repository = format!("{REGISTRY}/{}/{}/{}", path_part(&engine.config().owner), key.app, key.env);
    let docker = engine.docker().await?;
    let mut wanted = BTreeSet::new();
    for (release, artifacts) in kept {
        for (service, image) in &artifacts.0 {
            let tag = format!("{service}-{release}");
            let options = TagImageOptionsBuilder::new().repo(&repository).tag(&tag).build();
            let tagging = docker.tag_image(image, Some(options));
            // 404: somebody removed the image; the next rollback to it reports that.
            ignore_statuses(engine.call(&format!("tagging the image of release {release}"), tagging).await, &[404])?;
            wanted.insert(format!("{repository}:{tag}"));
        }
    }
    let filters = HashMap::from([("reference".to_owned(), vec![format!("{repository}:*")])]);
    let options = ListImagesOptionsBuilder::new().filters(&filters).build();
    let listed = engine.call("listing kept images", docker.list_images(Some(options))).await;
    let tags = listed.map_err(Problem::into_error)?.into_iter().flat_map(|image| image.repo_tags);
    for tag in tags {
        let is_its = tag.strip_prefix(&repository).is_some_and(|rest| rest.starts_with(':'));
        if is_its && !wanted.contains(&tag) {
            let options = RemoveImageOptionsBuilder::new().build();
            let removing = docker.remove_image(&tag, Some(options), None);
            // A container may still use the image; then a later call removes the tag.
            ignore_statuses(engine.call(&format!("removing the tag {tag}"), removing).await.map(drop), &[404, 409])?;
        }
    }
    Ok(())
}

/// An owner's name in the form that image names allow: lower-case letters, digits and hyphens.
fn path_part(owner: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let part: String = owner.chars().map(plain).collect();
    let part = part.trim_matches('-').to_owned();
    if part.is_empty() { "owner".to_owned() } else { part }
}
