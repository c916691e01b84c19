//! Errors have a position and the action, and the cost of a template is bounded.

#![allow(clippy::unwrap_used, reason = "a panic is the failure of a test")]

use gapless_gotemplate::{Element, Function, Functions, Limits, Problem, Template, TemplateError, Value};
use std::collections::BTreeMap;

fn wrong(text: &str) -> TemplateError {
    let mut functions = Functions::default();
    functions.insert("wrap", Function::new(1, |values| Ok(Value::list(Element::Any, vec![values[0].clone()]))));
    functions.insert("fail", Function::new(0, |_| Err("key does not exist".into())));
    let data = Value::map(Element::Any, BTreeMap::from([("a".to_owned(), Value::from("x"))]));
    Template::parse("nginx.conf.tmpl", text, &functions)
        .and_then(|template| template.execute(&data, &functions, &Limits::default()))
        .unwrap_err()
}

#[test]
fn error_has_file_line_column_and_action() {
    let error = wrong("one\n two {{ print\n (fail) }}");
    assert_eq!(error.to_string(), "nginx.conf.tmpl:3:3: in {{ print (fail) }}: fail: key does not exist");
    assert_eq!(wrong("é{{nope}}").to_string(), "nginx.conf.tmpl:1:4: in {{nope}}: function \"nope\" is not defined");
    assert_eq!(
        wrong("\n{{if .a}}").to_string(),
        "nginx.conf.tmpl:2:1: in {{if .a}}: {{if}} is never closed: {{end}} is missing"
    );
    assert_eq!(wrong("a\n{{$y}}").problem, Problem::UndefinedVariable("$y".into()));
    assert_eq!(wrong("{{template \"x\"}}").problem, Problem::UndefinedTemplate("x".into()));
    assert_eq!(wrong("{{.a.b}}").to_string(), "nginx.conf.tmpl:1:3: in {{.a.b}}: a string has no field b");
    assert_eq!(wrong("{{.a").to_string(), "nginx.conf.tmpl:1:1: in {{.a: unclosed action");
}

#[test]
fn cost_of_a_template_is_bounded() {
    let recursion = "{{define \"r\"}}{{template \"r\"}}{{end}}{{template \"r\"}}";
    assert_eq!(wrong(recursion).problem, Problem::TooDeep(200));
    assert_eq!(wrong("{{range 1000000000000}}{{end}}").problem, Problem::TooManySteps(10_000_000));
    let doubled = "{{$x := \"0123456789abcdef\"}}{{range 100}}{{$x = print $x $x}}{{end}}";
    assert_eq!(wrong(doubled).problem, Problem::TooLong(64 << 20));
    assert_eq!(wrong("{{range 100}}{{printf \"%1000000d\" 1}}{{end}}").problem, Problem::TooLong(64 << 20));
    // Results that are not printed count too.
    let unseen = "{{range 1000000}}{{$x := printf \"%100000d\" 1}}{{end}}";
    assert_eq!(wrong(unseen).problem, Problem::TooManySteps(10_000_000));
    let nested = "{{$x := 1}}{{range 1000}}{{$x = wrap $x}}{{end}}";
    assert_eq!(wrong(nested).problem, Problem::TooDeep(130));
    assert_eq!(wrong(&"{{if 1}}".repeat(1000)).problem, Problem::TooDeep(100));
    assert_eq!(wrong(&format!("{{{{{}", "(".repeat(1000))).problem, Problem::Syntax("unclosed action".into()));
    assert_eq!(wrong(&format!("{{{{{}1{}}}}}", "(".repeat(1000), ")".repeat(1000))).problem, Problem::TooDeep(100));
}

#[test]
fn long_template_is_lexed_in_linear_time() {
    let text = format!("{{{{print {}}}}}", "1 ".repeat(300_000));
    let template = Template::parse("t", &text, &Functions::default());
    assert!(template.is_ok(), "each number scanned the rest of the text, which took minutes");
}

#[test]
fn features_of_later_go_versions_work() {
    let functions = Functions::default();
    let print = |text: &str| {
        let template = Template::parse("t", text, &functions).unwrap();
        template.execute(&Value::Nil, &functions, &Limits::default()).unwrap()
    };
    assert_eq!(print("{{range 3}}{{.}}{{end}}{{range $i := 2}}{{$i}}{{end}}"), "01201");
    assert_eq!(print("{{with 0}}a{{else with 5}}{{.}}{{else}}b{{end}}"), "5");
}
