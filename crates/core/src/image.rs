//! The grammar of image references, as registries define it: `[domain[:port]/]path[:tag][@digest]`.

/// Checks an image reference. The error is the rest of a sentence that begins with the reference.
pub(crate) fn check_image(image: &str) -> Result<(), String> {
    let shown: String = image.chars().take(100).collect();
    let fail = |why: &str| Err(format!("{shown:?} {why}"));
    if image.is_empty() {
        return Err("is empty; write it like `shop:42` or `registry.example.com/shop:42`".to_owned());
    }
    if image.contains("://") {
        return fail("must not begin with a scheme; write it like `registry.example.com/shop:42`");
    }
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    if !digest.is_none_or(is_digest) {
        return fail("has a digest that is not of the form `sha256:` and 64 hexadecimal digits");
    }
    // A colon before the last slash belongs to the registry's port.
    let name_end = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest.get(name_end..).and_then(|last| last.find(':')) {
        Some(colon) => (&rest[..name_end + colon], Some(&rest[name_end + colon + 1..])),
        None => (rest, None),
    };
    if !tag.is_none_or(is_tag) {
        return fail("has a tag that is not made of at most 128 letters, digits, `_`, `.` and `-`");
    }
    if name.len() > 255 {
        return fail("is longer than 255 characters");
    }
    let path = match name.split_once('/') {
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => {
            if !is_domain(first) {
                return fail("does not begin with a registry such as `registry.example.com:5000`");
            }
            path
        }
        _ => name,
    };
    if path.chars().any(|c| c.is_ascii_uppercase()) {
        return fail("has upper-case letters in its name, which registries do not accept");
    }
    if !path.split('/').all(is_component) {
        return fail("is not an image name such as `shop:42` or `registry.example.com/team/shop:42`");
    }
    Ok(())
}

fn is_digest(digest: &str) -> bool {
    digest
        .strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = domain.split_once(':').map_or((domain, None), |(host, port)| (host, Some(port)));
    port.is_none_or(|port| port.parse::<u16>().is_ok())
        && host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

/// Lower-case letters and digits, with single separators between them.
fn is_component(component: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    component.bytes().all(|b| is_word(b) || b"._-".contains(&b))
        && component.bytes().next().is_some_and(is_word)
        && component.bytes().last().is_some_and(is_word)
        && !component.contains("..")
        && !component.contains("___")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_image_accepts_every_form_of_reference() {
        let digest = format!("shop@sha256:{}", "0a".repeat(32));
        let full = format!("registry.example.com:5000/team/shop_x:v1.2-3@sha256:{}", "0a".repeat(32));
        for image in [
            "shop",
            "shop:42",
            "library/nginx:1.22",
            "localhost/shop",
            "localhost:5000/a/b/c",
            "a__b--c.d",
            &digest,
            &full,
        ] {
            assert_eq!(check_image(image), Ok(()), "{image}");
        }
    }

    #[test]
    fn check_image_rejects_invalid_references() {
        let long = "a".repeat(300);
        for image in [
            "",
            " ",
            "-shop",
            "--privileged",
            "Shop",
            "shop:",
            "shop: 1",
            "shop:a/b:c d",
            "shop@",
            "shop@sha256:12",
            "https://example.com/shop",
            "a//b",
            "/a",
            "a/",
            "a/../b",
            "..",
            "shop\n",
            "shop\0",
            "ä",
            "example.com:x/shop",
            &long,
        ] {
            assert!(check_image(image).is_err(), "{image:?} was accepted");
        }
    }
}
