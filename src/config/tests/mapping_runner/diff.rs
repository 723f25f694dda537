//! The difference of two texts, line by line.

/// All lines, those of the first text alone with `-` before them and those of the second alone with `+`.
pub(super) fn lines(before: &str, after: &str) -> String {
    let before: Vec<&str> = before.lines().collect();
    let after: Vec<&str> = after.lines().collect();
    // The length of the longest common sequence of what follows each pair of places.
    let mut common = vec![vec![0_usize; after.len() + 1]; before.len() + 1];
    for one in (0..before.len()).rev() {
        for other in (0..after.len()).rev() {
            common[one][other] = if before[one] == after[other] {
                common[one + 1][other + 1] + 1
            } else {
                common[one + 1][other].max(common[one][other + 1])
            };
        }
    }
    let (mut one, mut other) = (0, 0);
    let mut text = String::new();
    let mut push = |sign: &str, line: &str| {
        text.push_str(sign);
        text.push_str(line);
        text.push('\n');
    };
    while one < before.len() || other < after.len() {
        if one < before.len() && other < after.len() && before[one] == after[other] {
            push("  ", before[one]);
            one += 1;
            other += 1;
        } else if other == after.len()
            || (one < before.len() && common[one + 1][other] >= common[one][other + 1])
        {
            push("- ", before[one]);
            one += 1;
        } else {
            push("+ ", after[other]);
            other += 1;
        }
    }
    text
}

#[test]
fn only_what_differs_is_marked() {
    assert_eq!(lines("a\nb\nc\n", "a\nx\nc\nd\n"), "  a\n- b\n+ x\n  c\n+ d\n");
    assert_eq!(lines("", "a\n"), "+ a\n");
    assert_eq!(lines("a\n", ""), "- a\n");
}
