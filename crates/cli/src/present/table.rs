//! Tables without lines, as `ps` and `docker ps` print them.

use comfy_table::Table;
use comfy_table::presets::NOTHING;

/// A table with these headings.
pub fn of<const N: usize>(heads: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(heads.map(str::to_uppercase));
    table
}
