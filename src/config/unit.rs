//! Units of values.

use floorgate_yaml::{Problems, Spanned};

/// Codes of UN/ECE Recommendation 20 by the names that people write instead.
const CODES: &[(&str, &str)] = &[
    ("%", "P1"),
    ("°c", "CEL"),
    ("celsius", "CEL"),
    ("c", "CEL"),
    ("bar", "BAR"),
    ("pa", "PAL"),
    ("kw", "KWT"),
    ("w", "WTT"),
    ("kwh", "KWH"),
    ("a", "AMP"),
    ("v", "VLT"),
    ("hz", "HTZ"),
    ("mm", "MMT"),
    ("m", "MTR"),
    ("mm/s", "C16"),
    ("m/s", "MTS"),
    ("g", "GRM"),
    ("kg", "KGM"),
    ("t", "TNE"),
    ("l", "LTR"),
    ("s", "SEC"),
    ("min", "MIN"),
    ("h", "HUR"),
    ("pcs", "C62"),
    ("pieces", "C62"),
];

/// Refuses what cannot be a code: one has two or three capitals and digits. Which of these exist is not known here, since the
/// list is long and grows.
pub(crate) fn check(tag: &str, unit: &Spanned<String>, problems: &mut Problems) {
    let is_code = (2..=3).contains(&unit.len())
        && unit
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    if is_code {
        return;
    }
    let name = unit.to_lowercase();
    let meant = CODES.iter().find(|(known, _)| *known == name);
    let problem = problems.error(
        unit.span,
        format!(
            "unit {:?} of tag `{tag}` is no code of UN/ECE Recommendation 20",
            unit.value
        ),
    );
    match meant {
        Some((_, code)) => problem.hint(format!("write `{code}`")),
        None => problem.hint("such as `CEL` °C, `KWT` kW, `MMT` mm, `C62` pieces; look yours up in the list"),
    };
}
