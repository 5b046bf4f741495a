//! Tables on standard output, as wide as what stands in them. Knows no command.

use super::print;

/// Prints a heading and rows. What somebody else worded cannot move the terminal's cursor.
pub(super) fn show<const N: usize>(heading: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
    for line in lines(heading, rows) {
        // A reader who has gone need not be served.
        if !print(&line) {
            return;
        }
    }
}

fn lines<const N: usize>(heading: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Vec<String> {
    let rows: Vec<[String; N]> = std::iter::once(heading.map(str::to_owned))
        .chain(rows.into_iter().map(|row| row.map(|cell| plain(if cell.is_empty() { "-" } else { &cell }))))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// A text without control characters.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The date and the time of day of an RFC 3339 text; another text as it is.
pub(super) fn time(text: &str) -> String {
    match (text.get(..10), text.get(10..11), text.get(11..19)) {
        (Some(date), Some("T"), Some(time)) => format!("{date} {time}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them() {
        let rows = [["a\x1b[2J".to_owned(), "é".to_owned()], ["much wider".to_owned(), String::new()]];
        assert_eq!(lines(["N", "M"], rows), ["N           M", "a [2J       é", "much wider  -"]);
        assert_eq!(lines(["N", "M"], []), ["N  M"]);
    }

    #[test]
    fn times_are_cut_to_the_second() {
        assert_eq!(time("2026-02-10T10:15:30.000+05:30"), "2026-02-10 10:15:30");
        assert_eq!(time("-"), "-");
        assert_eq!(time("éééééééééééééééé"), "éééééééééééééééé");
    }
}
