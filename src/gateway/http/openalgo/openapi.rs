//! `/openapi.json`: the endpoints as a machine reads them, made from the table that serves them.

use serde_json::{Map, Value, json};

use super::asked::Endpoint;
use super::endpoints;

/// The OpenAPI document.
pub(in super::super) fn document() -> Value {
    let mut paths = Map::new();
    for endpoint in endpoints() {
        paths.insert(format!("/api/v1/{}", endpoint.path), json!({"post": described(&endpoint)}));
    }
    paths.insert("/api/v1/instruments".to_owned(), instruments());
    paths.insert("/api/v1/ticker/{name}".to_owned(), ticker());
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "tickgate",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "OpenAlgo's REST interface. Every request carries a consumer key as `apikey`. Numbers may \
                            come as their text. Members that are not described are ignored. Every status but 200 is \
                            an error with `status` and `message`.",
        },
        "paths": paths,
        "components": {"schemas": {
            "Success": {
                "type": "object",
                "required": ["status"],
                "properties": {"status": {"type": "string", "enum": ["success"]}},
            },
            "Error": {
                "type": "object",
                "required": ["status", "message"],
                "properties": {
                    "status": {"type": "string", "enum": ["error"]},
                    "message": {"description": "What is wrong: words, or the texts by member."},
                    "retry_after": {"type": "integer", "description": "Seconds."},
                    "outcome": {"type": "string", "description": "`unknown`: it may have been done."},
                    "unique_id": {"type": "string", "description": "The mark of an order whose outcome is unknown."},
                },
            },
        }},
    })
}

fn described(endpoint: &Endpoint) -> Value {
    let names = endpoint.required.iter().chain(endpoint.optional);
    let mut members: Map<String, Value> = names.map(|name| ((*name).to_owned(), member(name))).collect();
    members.insert("apikey".to_owned(), member("apikey"));
    let mut required = vec!["apikey"];
    required.extend(endpoint.required);
    json!({
        "operationId": endpoint.path.replace('/', "_"),
        "summary": endpoint.about,
        "description": format!("Needs a key with the scope `{}`.", endpoint.scope),
        "requestBody": {
            "required": true,
            "content": {"application/json": {"schema": {
                "type": "object", "required": required, "properties": members,
            }}},
        },
        "responses": responses(&json!({"application/json": {"schema": {"$ref": "#/components/schemas/Success"}}})),
    })
}

/// One member of a body. The same name means the same everywhere.
fn member(name: &str) -> Value {
    let text = |about: &str| json!({"type": "string", "description": about});
    let number = |about: &str| json!({"description": about, "oneOf": [{"type": "number"}, {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?$"}]});
    match name {
        "apikey" => {
            json!({"type": "string", "minLength": 1, "maxLength": 256, "description": "A consumer key."})
        }
        "account" => text("An account of the configuration; needed where there are several."),
        "strategy" => text("The consumer's own name for what it does; for the audit trail."),
        "symbol" | "underlying" => text("A symbol as OpenAlgo spells it."),
        "exchange" => text("NSE, BSE, NFO, BFO, CDS, MCX, NSE_INDEX, BSE_INDEX."),
        "interval" => text("1s, 1m, 5m, 1h, D and others; see /intervals."),
        "start_date" | "end_date" | "date" => {
            json!({"type": "string", "format": "date", "description": "A day in India."})
        }
        "source" => json!({"type": "string", "enum": ["api", "db"]}),
        "query" => text("Pieces of names, with blanks between them."),
        "instrumenttype" => json!({"type": "string", "enum": ["futures", "options"]}),
        "symbols" => json!({
            "type": "array", "minItems": 1, "maxItems": 500,
            "items": {"type": "object", "required": ["symbol", "exchange"],
                "properties": {"symbol": {"type": "string"}, "exchange": {"type": "string"}}},
        }),
        "orders" => json!({
            "type": "array", "minItems": 1, "maxItems": 100,
            "items": {"type": "object", "required": ["symbol", "exchange", "action", "quantity"]},
        }),
        "positions" => json!({"type": "array", "items": {"type": "object"}}),
        "action" => json!({"type": "string", "enum": ["BUY", "SELL", "buy", "sell"]}),
        "pricetype" => json!({"type": "string", "enum": ["MARKET", "LIMIT", "SL", "SL-M"]}),
        "product" => json!({"type": "string", "enum": ["MIS", "NRML", "CNC"]}),
        "offset" => text("ATM, ITM1 to ITM50, OTM1 to OTM50."),
        "option_type" => json!({"type": "string", "enum": ["CE", "PE"]}),
        "expiry_date" => text("28OCT25; needed unless the underlying is a contract."),
        "orderid" => {
            json!({"description": "The broker's number.", "oneOf": [{"type": "string"}, {"type": "integer"}]})
        }
        "quantity" | "splitsize" => number("Units."),
        "position_size" => json!({
            "description": "Units; below zero: short.",
            "oneOf": [{"type": "number"}, {"type": "string", "pattern": "^-?[0-9]+$"}],
        }),
        "price" | "trigger_price" => number("Rupees."),
        "disclosed_quantity" => number("Units shown to others."),
        "mode" => json!({"type": "boolean"}),
        "year" => json!({"type": "integer", "minimum": 1980, "maximum": 2100}),
        _ => json!({}),
    }
}

/// Every status that an error can have, and when it has it.
const ERRORS: [(&str, &str); 10] = [
    ("400", "What was asked for cannot be, or the broker refused it, in its words."),
    ("403", "The key is wrong or lacks the scope, or there is no broker session, or it is switched off."),
    ("404", "There is no such thing."),
    (
        "409",
        "Orders before this one are not done with, and nothing was sent; or a part was done, and the body lists what was and what was not.",
    ),
    ("413", "The body is too long."),
    (
        "429",
        "Too many requests, here or to the broker; nothing was done. `Retry-After` says when to try again, if known.",
    ),
    ("500", "An internal failure."),
    (
        "502",
        "The broker did not answer, or not so that it could be understood; a request that changes something changed nothing.",
    ),
    (
        "503",
        "The instrument list is not loaded yet, or the broker could not be told of it; nothing was sent.",
    ),
    ("504", "The broker did not say whether it was done; `outcome` is `unknown`."),
];

fn responses(content: &Value) -> Value {
    let error = json!({"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}});
    let mut all = Map::new();
    all.insert("200".to_owned(), json!({"description": "It was done.", "content": content}));
    for (status, about) in ERRORS {
        let mut response = json!({"description": about, "content": error});
        if status == "429" {
            response["headers"] =
                json!({"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}});
        }
        all.insert(status.to_owned(), response);
    }
    // Of what no endpoint says by itself: a method or a content type that is not taken.
    all.insert("default".to_owned(), json!({"description": "What is wrong.", "content": error}));
    Value::Object(all)
}

fn parameter(name: &str, place: &str, required: bool, schema: &Value) -> Value {
    json!({"name": name, "in": place, "required": required, "schema": schema})
}

fn instruments() -> Value {
    let both = json!({
        "application/json": {"schema": {"$ref": "#/components/schemas/Success"}},
        "text/csv": {"schema": {"type": "string"}},
    });
    json!({"get": {
        "operationId": "instruments",
        "summary": "The instrument list, or an exchange's.",
        "parameters": [
            parameter("apikey", "query", true, &member("apikey")),
            parameter("exchange", "query", false, &member("exchange")),
            parameter("format", "query", false, &json!({"type": "string", "enum": ["json", "csv"]})),
        ],
        "responses": responses(&both),
    }})
}

fn ticker() -> Value {
    let both = json!({
        "application/json": {"schema": {"$ref": "#/components/schemas/Success"}},
        "text/plain": {"schema": {"type": "string"}},
    });
    json!({"get": {
        "operationId": "ticker",
        "summary": "Bars of an instrument.",
        "parameters": [
            parameter("name", "path", true, &json!({"type": "string", "description": "EXCHANGE:SYMBOL"})),
            parameter("apikey", "query", true, &member("apikey")),
            parameter("interval", "query", false, &member("interval")),
            parameter("from", "query", false, &member("start_date")),
            parameter("to", "query", false, &member("end_date")),
            parameter("format", "query", false, &json!({"type": "string", "enum": ["json", "txt"]})),
        ],
        "responses": responses(&both),
    }})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixNanos;
    use crate::gateway::control::DeskError;
    use crate::gateway::http::openalgo::asked::Failed;

    #[test]
    fn every_status_of_an_order_is_described() {
        let text = String::new;
        let (unique_id, sent_at) = (text(), UnixNanos::ZERO);
        for error in [
            DeskError::NoAccount(text()),
            DeskError::WhichAccount(Vec::new()),
            DeskError::NotConfigured(text()),
            DeskError::NoSession(text()),
            DeskError::Refused(text()),
            DeskError::Busy { message: text(), retry_after: None },
            DeskError::Failed(text()),
            DeskError::NotSent(text()),
            DeskError::Unclear { message: text(), unique_id, sent_at },
        ] {
            let status = Failed::from(error).status.to_string();
            assert!(ERRORS.iter().any(|(known, _)| *known == status), "{status}");
        }
        // Of what waits for other orders, or was done in part.
        assert!(ERRORS.iter().any(|(known, _)| *known == "409"));
    }

    #[test]
    fn every_endpoint_and_every_member_is_described() {
        let document = document();
        for endpoint in endpoints() {
            let path = format!("/api/v1/{}", endpoint.path);
            let schema =
                &document["paths"][&path]["post"]["requestBody"]["content"]["application/json"]["schema"];
            for name in endpoint.required.iter().chain(endpoint.optional) {
                let known = schema["properties"][name].as_object();
                let is_free = matches!(*name, "strike_int");
                assert!(is_free || known.is_some_and(|member| !member.is_empty()), "{path} {name}");
            }
            for (status, _) in ERRORS {
                let error = &document["paths"][&path]["post"]["responses"][status]["content"];
                assert_eq!(error["application/json"]["schema"]["$ref"], "#/components/schemas/Error");
            }
        }
    }
}
