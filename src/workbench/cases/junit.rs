//! What tests came to, in the form that continuous integration reads.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::run::{Outcome, Suite};

/// A report in the form of `JUnit`: a suite for each file.
pub fn junit(suites: &[Suite]) -> Result<String, quick_junit::SerializeError> {
    let mut report = Report::new("floorgate");
    for suite in suites {
        let name = suite.path.display().to_string();
        let mut tests = TestSuite::new(name.as_str());
        for run in &suite.results {
            let status = match &run.outcome {
                Outcome::Passed => TestCaseStatus::success(),
                Outcome::Failed(difference) => {
                    failure(NonSuccessKind::Failure, "other events came", difference)
                }
                Outcome::Unwritten(events) => failure(
                    NonSuccessKind::Failure,
                    "it has no `expect`; these events came",
                    events,
                ),
            };
            let mut case = TestCase::new(run.name.as_str(), status);
            case.set_classname(name.as_str());
            if !run.failures.is_empty() {
                case.set_system_out(run.failures.join("\n"));
            }
            tests.add_test_case(case);
        }
        if suite.problems.has_errors() {
            let text = suite.problems.render(false);
            let status = failure(NonSuccessKind::Error, "the file or its mapping is wrong", &text);
            tests.add_test_case(TestCase::new("(the file)", status));
        }
        report.add_test_suite(tests);
    }
    report.to_string()
}

fn failure(kind: NonSuccessKind, message: &str, text: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(message);
    status.set_description(text);
    status
}
