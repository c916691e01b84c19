//! `datetime`: Go's `time.Now`, with the methods that templates use.

use super::arguments::text;
use super::layout;
use gapless_gotemplate::{Function, Functions, Object, Value};
use jiff::ZonedDateTime;
use jiff::tz::TimeZone;
use std::sync::Arc;

pub fn add(functions: &mut Functions) {
    functions.insert("datetime", Function::new(0, |_| Ok(value(&ZonedDateTime::now()))));
}

/// Go's default format of a time.
const DEFAULT: &str = "2006-01-02 15:04:05.999999999 -0700 MST";

fn value(time: &ZonedDateTime) -> Value {
    let number = |name, number: i64| (name, Function::new(0, move |_| Ok(Value::Int(number))));
    let written = |name, layout: &str| {
        let written = layout::format(time, layout);
        (name, Function::new(0, move |_| Ok(Value::from(written.as_str()))))
    };
    let elsewhere = |name, zone: fn() -> TimeZone| {
        let time = time.clone();
        (name, Function::new(0, move |_| Ok(value(&time.with_time_zone(zone())))))
    };
    let formatted = time.clone();
    let nanoseconds = i64::try_from(time.timestamp().as_nanosecond()).unwrap_or(i64::MAX);
    let methods = vec![
        ("Format", Function::new(1, move |values| Ok(layout::format(&formatted, text(&values[0])?).into()))),
        written("String", DEFAULT),
        written("Month", "January"),
        written("Weekday", "Monday"),
        number("Year", time.year().into()),
        number("Day", time.day().into()),
        number("YearDay", time.day_of_year().into()),
        number("Hour", time.hour().into()),
        number("Minute", time.minute().into()),
        number("Second", time.second().into()),
        number("Nanosecond", time.subsec_nanosecond().into()),
        number("Unix", time.timestamp().as_second()),
        number("UnixMilli", time.timestamp().as_millisecond()),
        number("UnixNano", nanoseconds),
        elsewhere("UTC", || TimeZone::UTC),
        elsewhere("Local", TimeZone::system),
    ];
    let text = Some(layout::format(time, DEFAULT));
    Value::Object(Arc::new(Object { name: "time.Time", fields: Vec::new(), methods, text }))
}
