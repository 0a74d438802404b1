//! Reads the tables of FORMAT.md.

/// The document.
pub const FORMAT: &str = include_str!("../../FORMAT.md");

/// One line of a field table: where, how long, and which field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// First column: an offset, a bit or a number.
    pub at: usize,
    /// Second column, where it is a length.
    pub len: usize,
    /// The name in backquotes.
    pub field: String,
}

fn name(cell: &str) -> Option<String> {
    Some(cell.strip_prefix('`')?.strip_suffix('`')?.to_string())
}

/// The cells of each line of the table behind `<!-- table: NAME -->`, header lines left out.
fn cells(table: &str) -> Vec<Vec<String>> {
    let marker = format!("<!-- table: {table} -->\n");
    let (_, rest) = FORMAT.split_once(&marker).unwrap_or_else(|| panic!("no table {table}"));
    let rows = rest.lines().take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().into()).collect())
        .collect()
}

/// The rows of a table that has the columns place, length and field.
pub fn rows(table: &str) -> Vec<Row> {
    let row = |cells: Vec<String>| Row {
        at: cells[0].parse().unwrap(),
        len: cells[1].parse().unwrap(),
        field: name(&cells[2]).unwrap(),
    };
    cells(table).into_iter().map(row).collect()
}

/// Number and name of each line of a table.
pub fn numbers(table: &str) -> Vec<(usize, String)> {
    let row = |cells: Vec<String>| (cells[0].parse().unwrap(), name(&cells[1]).unwrap());
    cells(table).into_iter().map(row).collect()
}

/// The table has these fields at these places, one after the other without a gap,
/// up to `end`.
pub fn assert_fields(table: &str, fields: &[(usize, &str)], end: usize) {
    let rows = rows(table);
    let found: Vec<(usize, &str)> = rows.iter().map(|row| (row.at, &*row.field)).collect();
    assert_eq!(found, fields, "table {table}");
    let mut next = fields[0].0;
    for row in rows {
        assert_eq!(row.at, next, "gap before {} in {table}", row.field);
        next += row.len;
    }
    assert_eq!(next, end, "end of {table}");
}
