//! No text makes the parser or the evaluator panic, and every template ends.

#![allow(clippy::unwrap_used, reason = "a panic is the failure of a test")]

use gapless_gotemplate::{Element, Function, Functions, Limits, Template, Value};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn functions() -> Functions {
    let mut functions = Functions::default();
    functions.insert("texts", Function::variadic(0, |values| Ok(Value::list(Element::Text, values.to_vec()))));
    functions.insert(
        "map",
        Function::new(1, |values| Ok(Value::map(Element::Any, BTreeMap::from([("a".to_owned(), values[0].clone())])))),
    );
    functions
}

fn data() -> Value {
    let list = Value::list(Element::Any, vec![Value::Int(1), Value::from("é"), Value::Nil, Value::Float(-0.5)]);
    let inner = Value::map(Element::Any, BTreeMap::from([("l".to_owned(), list.clone())]));
    Value::map(Element::Any, BTreeMap::from([("l".to_owned(), list), ("m".to_owned(), inner)]))
}

/// Parses the text and executes it, or displays the error.
fn run(text: &str) {
    let functions = functions();
    let limits = Limits { output_bytes: 10_000, steps: 20_000, ..Limits::default() };
    let outcome =
        Template::parse("t", text, &functions).and_then(|parsed| parsed.execute(&data(), &functions, &limits));
    match outcome {
        Ok(printed) => assert!(printed.len() <= limits.output_bytes),
        Err(error) => assert!(error.line >= 1 && error.column >= 1 && !error.to_string().is_empty()),
    }
}

/// Fragments of templates, in random order.
fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "{{",
        "}}",
        "{{- ",
        " -}}",
        "if ",
        "else",
        "else if ",
        "end",
        "range ",
        "with ",
        "define ",
        "template ",
        "block ",
        "break",
        "continue",
        "\"t\"",
        "\"x\"",
        "`r`",
        "'c'",
        "$x",
        "$",
        " := ",
        " = ",
        " | ",
        ", ",
        "(",
        ")",
        ".",
        ".l",
        ".m",
        "1",
        "-2",
        "3.5",
        "0x",
        "print ",
        "printf ",
        "index ",
        "slice ",
        "len ",
        "eq ",
        "and ",
        "or ",
        "not ",
        "nil",
        "true",
        "map ",
        "texts ",
        "/*",
        "*/",
        "\n",
        " ",
        "é",
        "\"%d %[2]*.3q\" ",
        "{{end}}",
        "{{else}}",
        "{{if .l}}",
        "{{range .l}}",
        "{{range $i, $e := .l}}",
        "{{with .m}}",
        "{{template \"t\" .}}",
        "{{$x = map $x}}",
        "{{$x := 1}}",
        "{{.}}",
        "{{define \"t\"}}",
    ])
}

/// Templates, most of which parse.
fn template() -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec![
        ".",
        "$",
        "$x",
        ".l",
        "(index .l 0)",
        "(print . $x)",
        "(map $x)",
        "(texts \"a\" \"b\")",
        "\"s\"",
        "2",
        "nil",
        "1.5",
        "(len .l)",
        "(slice \"é\" 1)",
        "(and . $x)",
        "(printf \"%5.1f %v %q\" $x . $x)",
    ]);
    let leaf = prop_oneof![
        "[a-z ]{0,5}",
        value.clone().prop_map(|value| format!("{{{{{value}}}}}")),
        value.clone().prop_map(|value| format!("{{{{$x = {value}}}}}")),
        value.clone().prop_map(|value| format!("{{{{$x = print $x $x {value}}}}}")),
        Just("{{template \"t\" $x}}".to_owned()),
        Just("{{template \"u\" .}}{{template \"u\" $x}}".to_owned()),
    ];
    let body = leaf.prop_recursive(6, 60, 5, move |inner| {
        let body = prop::collection::vec(inner, 0..5).prop_map(|parts| parts.concat());
        let value = value.clone();
        prop_oneof![
            (value.clone(), body.clone(), body.clone())
                .prop_map(|(value, a, b)| format!("{{{{if {value}}}}}{a}{{{{else}}}}{b}{{{{end}}}}")),
            (value.clone(), body.clone()).prop_map(|(value, a)| format!("{{{{with {value}}}}}{a}{{{{end}}}}")),
            (value, body.clone()).prop_map(|(value, a)| format!("{{{{range {value}}}}}{a}{{{{end}}}}")),
            body.prop_map(|a| format!("{{{{range 1000000}}}}{a}{{{{end}}}}")),
        ]
    });
    (body.clone(), body.clone(), body).prop_map(|(main, t, u)| {
        let x = "{{$x := 0}}";
        format!("{{{{define \"t\"}}}}{x}{t}{{{{end}}}}{{{{define \"u\"}}}}{x}{u}{{{{end}}}}{x}{main}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_panics(text in ".{0,80}") {
        run(&text);
        run(&format!("{{{{{text}}}}}"));
    }

    #[test]
    fn no_mixture_of_pieces_panics(pieces in prop::collection::vec(piece(), 0..40)) {
        run(&pieces.concat());
    }

    #[test]
    fn every_template_ends(text in template()) {
        run(&text);
    }

    #[test]
    fn no_format_panics(format in "[%+#0 .*\\[\\]1-9a-zA-Zé-]{0,20}", number in any::<i64>(), float in any::<f64>()) {
        let values = [Value::Int(number), Value::Float(float), Value::from("aé\n"), data()];
        let _ = gapless_gotemplate::format(&format, &values);
    }
}

#[test]
fn width_and_precision_have_the_limits_of_go() {
    let print = |format: &str| {
        let limits = Limits { output_bytes: 3_000_000, ..Limits::default() };
        let text =
            format!("{{{{printf {format:?} 1.5}}}}|{{{{printf {:?} -7}}}}", format.replace(['f', 'e', 'g'], "d"));
        Template::parse("t", &text, &functions()).unwrap().execute(&Value::Nil, &functions(), &limits).unwrap()
    };
    for count in [1_200, 65_535, 65_536, 1_000_000] {
        let zeros = |less: usize| "0".repeat(count - less);
        assert_eq!(print(&format!("%0{count}f")), format!("{}1.500000|-{}7", zeros(8), zeros(2)));
        assert_eq!(print(&format!("%.{count}f")), format!("1.5{}|-{}7", zeros(1), zeros(1)));
        assert_eq!(print(&format!("%.{count}e")), format!("1.5{}e+00|-{}7", zeros(1), zeros(1)));
        assert_eq!(print(&format!("%.{count}g")), format!("1.5|-{}7", zeros(1)));
    }
}
