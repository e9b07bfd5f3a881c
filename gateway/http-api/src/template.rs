//! `report -f`: Go templates over the report.

use gtmpl::{Context, FuncError, Template, Value};
use weave_api::Report;

/// Why a template gave no text.
#[derive(Debug, thiserror::Error)]
#[error("the template cannot be used: {0}")]
pub(crate) struct TemplateError(String);

/// Renders `format` over the report; beside Go's functions there is `json`.
pub(crate) fn render(format: &str, report: &Report) -> Result<String, TemplateError> {
    let failed = |error: &dyn std::fmt::Display| TemplateError(error.to_string());
    let mut template = Template::default();
    template.add_func("json", json);
    template.parse(format).map_err(|e| failed(&e))?;
    let value = serde_json::to_value(report).map_err(|e| failed(&e))?;
    template.render(&Context::from(to_template(value))).map_err(|e| failed(&e))
}

fn json(arguments: &[Value]) -> Result<Value, FuncError> {
    let value = arguments.first().ok_or_else(|| FuncError::AtLeastXArgs("json".to_owned(), 1))?;
    Ok(Value::from(to_json(value).to_string()))
}

fn to_template(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(flag) => Value::from(flag),
        serde_json::Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(n), _) => Value::from(n),
            (None, Some(n)) => Value::from(n),
            _ => Value::from(number.as_f64().unwrap_or_default()),
        },
        serde_json::Value::String(text) => Value::from(text),
        serde_json::Value::Array(items) => Value::Array(items.into_iter().map(to_template).collect()),
        serde_json::Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, to_template(value))).collect())
        }
    }
}

fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(flag) => (*flag).into(),
        Value::String(text) => text.as_str().into(),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(n), _) => n.into(),
            (None, Some(n)) => n.into(),
            _ => number.as_f64().into(),
        },
        Value::Array(items) => items.iter().map(to_json).collect(),
        Value::Object(fields) | Value::Map(fields) => {
            let sorted: std::collections::BTreeMap<_, _> = fields.iter().collect();
            sorted.into_iter().map(|(name, value)| (name.clone(), to_json(value))).collect()
        }
        Value::NoValue | Value::Nil | Value::Function(_) => serde_json::Value::Null,
    }
}
