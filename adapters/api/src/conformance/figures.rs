//! What a runbook says in figures.

/// The units of figures that come from settings and limits.
const UNITS: [&str; 6] = ["s", "ms", "MiB", "days", "levels", "elements"];

/// Panics unless each of `held`, phrases made of what holds where nothing else is set, stands in the runbook, and no figure with a unit is in it beside these.
pub fn the_runbooks_figures_hold(runbook: &str, held: &[String]) {
    let runbook = runbook.replace('\n', " ");
    let mut beside = runbook.clone();
    for phrase in held {
        assert!(runbook.contains(phrase), "the runbook does not say {phrase:?}");
        beside = beside.replace(phrase, " ");
    }
    let words: Vec<&str> = beside.split_whitespace().collect();
    let figures = words.windows(2).filter(|pair| {
        let figure = pair[0].trim_start_matches('(').replace(',', "");
        let unit = pair[1].trim_end_matches(|end: char| end.is_ascii_punctuation());
        figure.parse::<f64>().is_ok() && UNITS.contains(&unit)
    });
    let figures: Vec<String> = figures.map(|pair| pair.join(" ")).collect();
    assert!(
        figures.is_empty(),
        "nothing holds what the runbook says of {figures:?}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "It waits for 4 s, and takes\n16 MiB (after 1,000 ms).";

    #[test]
    fn each_figure_is_one_that_is_held() {
        let held = ["for 4 s", "takes 16 MiB", "1,000 ms"].map(str::to_owned);
        the_runbooks_figures_hold(TOLD, &held);
    }

    #[test]
    #[should_panic(expected = "nothing holds what the runbook says of [\"16 MiB\", \"1,000 ms).\"]")]
    fn one_that_nothing_holds_is_named() {
        the_runbooks_figures_hold(TOLD, &["for 4 s".to_owned()]);
    }

    #[test]
    #[should_panic(expected = "does not say \"for 5 s\"")]
    fn one_that_is_another_is_named() {
        the_runbooks_figures_hold(TOLD, &["for 5 s".to_owned()]);
    }
}
