//! Times of a tag that say nothing, or not what is meant.

use floorgate_yaml::Problems;

use crate::form::TagForm;

/// Reports times that are none, and what keeps a tag from being seen in time.
pub(crate) fn check(name: &str, form: &TagForm, problems: &mut Problems) {
    let given = [
        ("debounce", &form.debounce, "500ms"),
        ("heartbeat", &form.heartbeat, "500ms"),
        ("late_after", &form.late_after, "10m"),
    ];
    for (key, time, such_as) in given {
        if let Some(time) = time
            && time.as_millis() == 0
        {
            problems
                .error(
                    time.span,
                    format!("`{key}` of tag `{name}`: {} is no time", time.value),
                )
                .hint(format!("such as `{key}: {such_as}`"));
        }
    }
    if let (Some(debounce), Some(_)) = (&form.debounce, &form.counter) {
        problems
            .error(
                debounce.span,
                format!("tag `{name}` is a counter, and has a `debounce`"),
            )
            .hint("a counter that counts would never stand still; remove one of them");
    }
    if let (Some(heartbeat), Some(_)) = (&form.heartbeat, &form.debounce) {
        problems
            .error(
                heartbeat.span,
                format!("tag `{name}` is a heartbeat, and has a `debounce`"),
            )
            .hint("a heartbeat has to be seen as it beats; remove one of them");
    }
    if let (Some(heartbeat), Some(_)) = (&form.heartbeat, &form.valid) {
        problems
            .error(
                heartbeat.span,
                format!("tag `{name}` is a heartbeat, and has a `valid`"),
            )
            .hint("a heartbeat has to be seen as it beats; remove one of them");
    }
}
