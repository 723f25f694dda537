"""What an editor says of YAML files by a JSON Schema: a line for each objection. Arguments: the schema, then the files.

With `--complete KEY/KEY/…` in place of files: what it offers for the value of the last key, a line each with its hover text.
"""

import json
import sys

import jsonschema
import yaml

schema_path, *paths = sys.argv[1:]
with open(schema_path, encoding="utf-8") as file:
    schema = json.load(file)
jsonschema.Draft202012Validator.check_schema(schema)


def forms(of):
    """A schema and all that it is made of."""
    if not isinstance(of, dict):
        return
    yield of
    if "$ref" in of:
        yield from forms(schema["$defs"][of["$ref"].rsplit("/", 1)[-1]])
    for word in ("anyOf", "allOf", "oneOf"):
        for form in of.get(word, []):
            yield from forms(form)


def below(of, key):
    """The schemas of what stands below a key, of `*` in a list."""
    for form in forms(of):
        if key == "*":
            yield form.get("items")
        elif key in form.get("properties", {}):
            yield form["properties"][key]
        else:
            yield form.get("additionalProperties")


if paths[:1] == ["--complete"]:
    found = [schema]
    for key in paths[1].split("/"):
        found = [form for of in found for form in below(of, key)]
    offered = {form["const"]: form.get("description") for of in found for form in forms(of) if "const" in form}
    for name, hover in offered.items():
        print(f"{name}: {hover}")
    sys.exit()

validator = jsonschema.Draft202012Validator(schema)
for path in paths:
    with open(path, encoding="utf-8") as file:
        # Keys are text in JSON, also those that YAML reads as numbers.
        document = json.loads(json.dumps(yaml.safe_load(file)))
    for error in validator.iter_errors(document):
        print(f"{path}: {error.json_path}: {error.message}")
