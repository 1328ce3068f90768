"""The description of the content API by OpenAPI 3.1, written by hand and held against its answers by the tests."""

from typing import Any

from knowledge import SHARED_KINDS

TEXT, WHOLE, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
MAYBE = {"type": ["string", "null"]}
AT, MAYBE_AT = {"type": "string", "format": "date-time"}, {"type": ["string", "null"], "format": "date-time"}
EXACT = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?(E[+-]?[0-9]+)?$"}
MAYBE_EXACT = {**EXACT, "type": ["string", "null"]}
KIND = {"type": "string", "enum": sorted(kind.value for kind in SHARED_KINDS)}
LANGUAGE = {"type": "string", "enum": ["EN", "ZH"]}


def _object(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def _named(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


SCHEMAS = {
    "Item": _object(
        id=TEXT, kind=KIND, language=LANGUAGE, version=WHOLE, title=TEXT, body=_object(html=TEXT, markdown=TEXT), source=MAYBE, licence=MAYBE,
        publishedAt=MAYBE_AT, updatedAt=AT, expiresAt=MAYBE_AT, calculator=MAYBE,
    ),
    "Items": _object(items=_list(_named("Item")), nextCursor=MAYBE),
    "Hits": _object(hits=_list(_object(item=_named("Item"), passage=TEXT, score=NUMBER)), methods=_list(TEXT), degraded=MAYBE),
    "Model": _object(
        id=TEXT, version=WHOLE, title=TEXT, language=LANGUAGE, source=MAYBE, licence=MAYBE,
        inputs=_list(_object(key=TEXT, label=TEXT, unit=TEXT, min=EXACT, max=EXACT, default=MAYBE_EXACT, question=TEXT)),
        results=_list(_object(key=TEXT, label=TEXT, unit=TEXT, decimals=WHOLE)),
    ),
    "Inputs": _object(inputs={"type": "object", "additionalProperties": {"type": ["number", "string"]}, "maxProperties": 200}),
    "Value": _object(key=TEXT, label=TEXT, unit=TEXT, value=MAYBE_EXACT, words=TEXT, formula=MAYBE),
    "Calculation": _object(
        id=TEXT, version=WHOLE, steps=_list(_named("Value")), results=_list(_named("Value")),
        inputs=_list(_object(**{"key": TEXT, "label": TEXT, "unit": TEXT, "value": EXACT, "from": {"enum": ["ANSWER", "DEFAULT", "RECORD"]}})),
    ),
    "Problem": {
        "type": "object", "required": ["type", "title", "status"],
        "properties": {
            "type": TEXT, "title": TEXT, "status": WHOLE, "detail": TEXT, "code": TEXT, "field": TEXT, "requestId": TEXT,
            "missing": _list(_object(key=TEXT, message=TEXT)), "refused": _list(_object(key=TEXT, message=TEXT)),
        },
    },
}  # fmt: skip


def _parameter(
    name: str, description: str, schema: dict[str, Any], *, place: str = "query", required: bool = False
) -> Any:
    return {"name": name, "in": place, "required": required, "description": description, "schema": schema}


ID = _parameter("id", "The entry.", TEXT, place="path", required=True)
KINDS = _parameter("kind", "Only entries of this kind.", KIND)
LANGUAGES = _parameter("language", "Only entries in this language.", LANGUAGE)
LIMIT = _parameter("limit", "How many entries at most.", WHOLE | {"minimum": 1, "maximum": 50, "default": 20})
TAG = _parameter("If-None-Match", "The tag of the answer that the client has.", TEXT, place="header")
READ_AS = _parameter(
    "Accept-Language", "The language of labels and errors: zh (the default) or en.", TEXT, place="header"
)


def _operation(summary: str, answer: str, *parameters: Any, body: str | None = None) -> dict[str, Any]:
    problems = {
        status: {"description": words, "content": {"application/problem+json": {"schema": _named("Problem")}}}
        for status, words in {
            "400": "The request cannot be taken.", "401": "No good key.", "403": "The key has not the scope CONTENT.",
            "404": "Absent, or not shared: these look alike.", "409": "The entry holds no model that computes.", "422": "Inputs are missing or refused.",
            "429": "Too many requests: Retry-After says when.",
        }.items()
    }  # fmt: skip
    found = {"description": "The answer.", "content": {"application/json": {"schema": _named(answer)}}}
    made: dict[str, Any] = {
        "summary": summary, "parameters": [*parameters, READ_AS], "responses": {"200": found, **problems},
    }  # fmt: skip
    if body is None:
        made["parameters"].append(TAG)
        made["responses"]["304"] = {"description": "The client has this answer."}
    else:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": _named(body)}}}
    return made


DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {
        "title": "Sortie content API", "version": "1.0.0",
        "description": "Cases, product sheets and ROI calculators that this company shares with its customers' own systems.",
    },
    "servers": [{"url": "/content/v1"}],
    "security": [{"key": []}],
    "paths": {
        "/items": {
            "get": _operation(
                "The shared entries, those first that were changed longest ago.", "Items", KINDS, LANGUAGES,
                _parameter("updated_since", "Only entries changed at this instant or later.", AT), _parameter("cursor", "`nextCursor` of the page before.", TEXT),
                LIMIT,
            )
        },
        "/items/{id}": {"get": _operation("One entry.", "Item", ID)},
        "/search": {
            "get": _operation(
                "The shared entries nearest to a query in words and meaning.", "Hits", _parameter("q", "What is looked for.", TEXT, required=True), KINDS,
                LANGUAGES, LIMIT,
            )
        },
        "/roi/{id}": {"get": _operation("What an ROI model takes and gives.", "Model", ID)},
        "/roi/{id}/calculations": {
            "post": _operation("Compute a model once; nothing of it is stored.", "Calculation", ID, body="Inputs")
        },
    },
    "components": {
        "schemas": SCHEMAS,
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "A service key with the scope CONTENT."}},
    },
}  # fmt: skip
