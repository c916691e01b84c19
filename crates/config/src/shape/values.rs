//! How values are written that TOML has no type for, and tables whose keys are names.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

/// A type for the fields of the shape, with its schema. It is a type, since of a field with a schema alone nobody could
/// tell that it may be left out.
macro_rules! written {
    ($(#[$doc:meta])* $name:ident as $($schema:tt)*) => {
        $(#[$doc])*
        pub(super) enum $name {}

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($($schema)*)
            }
        }
    };
}

written! {
    /// `30s`, or a number of seconds.
    Duration as {
        "anyOf": [
            { "type": "string", "pattern": "^\\s*([0-9]+(\\.[0-9]+)?(d|h|ms|m|s)\\s*)+$", "examples": ["30s", "1m30s", "500ms"] },
            { "type": "integer", "minimum": 0, "description": "Seconds." }
        ]
    }
}

written! {
    /// `512m`, or a number of bytes.
    Size as {
        "anyOf": [
            { "type": "string", "pattern": "^\\s*[0-9]+(\\.[0-9]+)?\\s*([kKmMgGtT]?[bB]?|[kKmMgGtT][iI][bB])\\s*$", "examples": ["512m", "64 KiB"] },
            { "type": "integer", "minimum": 0, "description": "Bytes." }
        ]
    }
}

written! {
    /// `1.5`, or `"1.5%"`.
    Percent as {
        "anyOf": [
            { "type": "number", "minimum": 0, "maximum": 100 },
            { "type": "string", "pattern": "^\\s*[0-9]+(\\.[0-9]+)?\\s*%\\s*$", "examples": ["10%", "1.5%"] }
        ]
    }
}

written! {
    /// `200`, `"200-299"`, or a list of them.
    Statuses as {
        "$comment": "one status or range, or a list of them",
        "anyOf": [
            { "type": "integer", "minimum": 200, "maximum": 599 },
            { "type": "string", "pattern": "^\\s*[0-9]{3}\\s*(-\\s*[0-9]{3}\\s*)?$" },
            { "type": "array", "minItems": 1, "items": { "type": ["integer", "string"] } }
        ]
    }
}

written! {
    /// Environment variables.
    Variables as {
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
        "additionalProperties": { "type": ["string", "integer", "number", "boolean"] }
    }
}

written! {
    /// Tables by the names of environments.
    Environments as {
        "type": "object",
        "propertyNames": { "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" },
        "additionalProperties": { "type": "object" }
    }
}
