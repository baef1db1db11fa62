//! `director schema`: the keys as JSON Schema (draft 2020-12), for editors.
//!
//! What a schema cannot say, such as addresses that must be unique or a real server that
//! no network leads to, is left to `director check`. In one thing the schema is stricter
//! than the program: a number or switch in quotes, which YAML calls text.

use serde_json::{Map, Value as Json, json};

use super::{Default, FILE, Form, Key, Rule, Section, Value};

/// The schema of the configuration file.
#[must_use]
pub fn schema() -> Json {
    let mut root = Map::new();
    let draft = "https://json-schema.org/draft/2020-12/schema";
    root.insert("$schema".to_owned(), json!(draft));
    root.insert("title".to_owned(), json!("director.yaml"));
    root.extend(mapping(&FILE));
    Json::Object(root)
}

/// A mapping; nothing at all is an empty one, where that is enough.
fn mapping(section: &Section) -> Map<String, Json> {
    let mut map = Map::new();
    map.insert("description".to_owned(), json!(section.about()));
    map.insert("additionalProperties".to_owned(), json!(false));
    let properties: Map<String, Json> =
        section.keys.iter().map(|key| (key.name.to_owned(), property(section, key))).collect();
    map.insert("properties".to_owned(), Json::Object(properties));
    let compulsory: Vec<&str> = section
        .keys
        .iter()
        .filter(|key| key.default == Default::Compulsory && !ruled(section, key.name))
        .map(|key| key.name)
        .collect();
    let types = if compulsory.is_empty() { json!(["object", "null"]) } else { json!("object") };
    map.insert("type".to_owned(), types);
    if !compulsory.is_empty() {
        map.insert("required".to_owned(), json!(compulsory));
    }
    if !section.rules.is_empty() {
        let rules: Vec<Json> = section.rules.iter().map(|one| rule(section, one)).collect();
        map.insert("allOf".to_owned(), Json::Array(rules));
    }
    map
}

/// Whether a rule says when the key must be there.
fn ruled(section: &Section, name: &str) -> bool {
    section.rules.iter().any(|rule| match rule {
        Rule::OneOf { groups, .. } => groups.iter().any(|group| group.contains(&name)),
        Rule::NotBoth(..) | Rule::With { .. } => false,
    })
}

fn property(section: &Section, key: &Key) -> Json {
    let mut more = Map::new();
    more.insert("description".to_owned(), json!(section.meaning(key)));
    if let Default::Is(text) = key.default
        && let Ok(default) = serde_yaml::from_str::<Json>(text)
    {
        more.insert("default".to_owned(), default);
    }
    if let Ok(example) = serde_yaml::from_str::<Json>(key.example) {
        more.insert("examples".to_owned(), json!([example]));
    }
    if let Json::Object(what) = value(&key.value) {
        for (name, part) in what {
            // The section's own description gives way to the key's.
            more.entry(name).or_insert(part);
        }
    }
    Json::Object(more)
}

fn value(value_: &Value) -> Json {
    match value_ {
        Value::Switch => json!({ "type": "boolean" }),
        Value::Number { from, to, .. } => {
            json!({ "type": "integer", "minimum": from, "maximum": to })
        }
        Value::PowerOfTwo { from, to } => {
            let doubled = |number: &u64| number.checked_mul(2).filter(|number| number <= to);
            let powers: Vec<u64> = std::iter::successors(Some(*from), doubled).collect();
            json!({ "enum": powers })
        }
        Value::Count { from, to } => json!({ "anyOf": [
            { "type": "integer", "minimum": from, "maximum": to },
            { "type": "string", "pattern": "^(0|[1-9][0-9]*)[kKmM]$" },
        ] }),
        Value::Time { from_ms, to_ms } => json!({ "anyOf": [
            { "type": "integer", "minimum": from_ms.div_ceil(1_000), "maximum": to_ms / 1_000 },
            { "type": "string", "pattern": "^(0|[1-9][0-9]*)(ms|s|m|min|h|d)$" },
        ] }),
        Value::Word(words) => {
            let all: Vec<Json> = words
                .names()
                .iter()
                .map(|word| json!({ "const": word, "description": words.meaning(word) }))
                .collect();
            json!({ "oneOf": all })
        }
        Value::Text(form) => text(form),
        Value::Mapping(section) => Json::Object(mapping(section)),
        Value::List { of, least, most } => list(of, *least, *most),
        Value::Either(values) => {
            let all: Vec<Json> = values.iter().map(value).collect();
            json!({ "anyOf": all })
        }
    }
}

fn text(form: &Form) -> Json {
    let mut map = Map::new();
    let types: Vec<&str> = std::iter::once("string").chain(form.also.iter().copied()).collect();
    let types = if form.also.is_empty() { json!("string") } else { json!(types) };
    map.insert("type".to_owned(), types);
    if !form.pattern.is_empty() {
        map.insert("pattern".to_owned(), json!(form.pattern));
    }
    match form.format {
        [] => {}
        [only] => {
            map.insert("format".to_owned(), json!(only));
        }
        several => {
            let all: Vec<Json> = several.iter().map(|name| json!({ "format": name })).collect();
            map.insert("anyOf".to_owned(), Json::Array(all));
        }
    }
    Json::Object(map)
}

fn list(of: &Value, least: u64, most: Option<u64>) -> Json {
    let mut map = Map::new();
    // Nothing at all is an empty list.
    let types = if least == 0 { json!(["array", "null"]) } else { json!("array") };
    map.insert("type".to_owned(), types);
    map.insert("items".to_owned(), item(of));
    if least > 0 {
        map.insert("minItems".to_owned(), json!(least));
    }
    if let Some(most) = most {
        map.insert("maxItems".to_owned(), json!(most));
    }
    Json::Object(map)
}

/// An item of a list, which cannot be nothing.
fn item(of: &Value) -> Json {
    let mut item = value(of);
    if let (Value::Mapping(_), Json::Object(map)) = (of, &mut item) {
        map.insert("type".to_owned(), json!("object"));
    }
    item
}

fn rule(section: &Section, rule: &Rule) -> Json {
    match rule {
        Rule::OneOf { groups, unless } => {
            let not_others = |group: &[&str]| -> Json {
                let others = groups.iter().flat_map(|other| other.iter());
                let others = others.filter(|key| !group.contains(key));
                let others: Vec<Json> = others.map(|key| has(&[key])).collect();
                json!({ "anyOf": others })
            };
            let mut ways: Vec<Json> = groups
                .iter()
                .map(|group| {
                    json!({ "allOf": [has(group), filled(section, group)], "not": not_others(group) })
                })
                .collect();
            let first = groups.first().copied().unwrap_or_default();
            ways.push(json!({ "allOf": [has(&[unless])], "not": not_others(first) }));
            json!({ "anyOf": ways })
        }
        Rule::NotBoth(a, b) => {
            let both: [&str; 2] = [a, b];
            json!({ "not": { "allOf": [has(&both), filled(section, &both)] } })
        }
        Rule::With { key, when, is, compulsory } => {
            // A key that is not there has its default.
            let silent = section.key(when).map(|other| other.default);
            let silently = is.iter().any(|word| silent == Some(Default::Is(word)));
            let required: &[&str] = if silently { &[] } else { &[when] };
            let condition = json!({
                "type": "object",
                "properties": { *when: { "enum": is } },
                "required": required,
            });
            let then = if *compulsory { has(&[key]) } else { json!({}) };
            json!({ "if": condition, "then": then, "else": { "not": has(&[key]) } })
        }
    }
}

/// No list under these keys is empty.
fn filled(section: &Section, group: &[&str]) -> Json {
    let lists = section.keys.iter().filter(|key| group.contains(&key.name));
    let lists = lists.filter(|key| matches!(key.value, Value::List { .. }));
    let filled = lists.map(|key| (key.name.to_owned(), json!({ "type": "array", "minItems": 1 })));
    json!({ "properties": filled.collect::<Map<_, _>>() })
}

/// A mapping with these keys; alone, `required` says nothing against what is no mapping.
fn has(keys: &[&str]) -> Json {
    json!({ "type": "object", "required": keys })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_forbids_other_keys_and_explains_each() {
        let schema = schema();
        assert_eq!(schema["additionalProperties"], json!(false));
        assert_eq!(schema["required"], json!(["ports"]));
        let mib = &schema["properties"]["memory"]["properties"]["mib"];
        assert_eq!((&mib["minimum"], &mib["default"]), (&json!(64), &json!(1024)));
        assert!(mib["description"].as_str().unwrap().starts_with("Memory for DPDK"));
    }

    #[test]
    fn words_come_with_their_meaning() {
        let schema = schema();
        let words = schema["properties"]["ttl"]["oneOf"].as_array().unwrap();
        assert_eq!(words[0]["const"], "decrement");
        assert!(words[0]["description"].as_str().unwrap().contains("checksum"));
    }
}
