//! What is wrong is told with its place and its action, and what a template may cost is bounded.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

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
fn an_error_has_its_file_line_column_and_action() {
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
fn what_a_template_may_cost_is_bounded() {
    let recursion = "{{define \"r\"}}{{template \"r\"}}{{end}}{{template \"r\"}}";
    assert_eq!(wrong(recursion).problem, Problem::TooDeep(200));
    assert_eq!(wrong("{{range 1000000000000}}{{end}}").problem, Problem::TooManySteps(10_000_000));
    let doubled = "{{$x := \"0123456789abcdef\"}}{{range 100}}{{$x = print $x $x}}{{end}}";
    assert_eq!(wrong(doubled).problem, Problem::TooLong(64 << 20));
    assert_eq!(wrong("{{range 100}}{{printf \"%1000000d\" 1}}{{end}}").problem, Problem::TooLong(64 << 20));
    // What is made and thrown away costs, too.
    let unseen = "{{range 1000000}}{{$x := printf \"%100000d\" 1}}{{end}}";
    assert_eq!(wrong(unseen).problem, Problem::TooManySteps(10_000_000));
    let nested = "{{$x := 1}}{{range 1000}}{{$x = wrap $x}}{{end}}";
    assert_eq!(wrong(nested).problem, Problem::TooDeep(130));
    assert_eq!(wrong(&"{{if 1}}".repeat(1000)).problem, Problem::TooDeep(100));
    assert_eq!(wrong(&format!("{{{{{}", "(".repeat(1000))).problem, Problem::Syntax("unclosed action".into()));
    assert_eq!(wrong(&format!("{{{{{}1{}}}}}", "(".repeat(1000), ")".repeat(1000))).problem, Problem::TooDeep(100));
}

#[test]
fn a_long_template_is_read_once_and_not_once_for_each_number_in_it() {
    let text = format!("{{{{print {}}}}}", "1 ".repeat(300_000));
    let template = Template::parse("t", &text, &Functions::default());
    assert!(template.is_ok(), "it took minutes when each number looked at all that followed it");
}

#[test]
fn what_later_versions_of_go_know_is_known() {
    let functions = Functions::default();
    let print = |text: &str| {
        let template = Template::parse("t", text, &functions).unwrap();
        template.execute(&Value::Nil, &functions, &Limits::default()).unwrap()
    };
    assert_eq!(print("{{range 3}}{{.}}{{end}}{{range $i := 2}}{{$i}}{{end}}"), "01201");
    assert_eq!(print("{{with 0}}a{{else with 5}}{{.}}{{else}}b{{end}}"), "5");
}
