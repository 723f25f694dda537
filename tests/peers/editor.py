"""What an editor says of YAML files by a JSON Schema: a line for each objection. Arguments: the schema, then the files."""

import json
import sys

import jsonschema
import yaml

schema_path, *paths = sys.argv[1:]
with open(schema_path, encoding="utf-8") as file:
    schema = json.load(file)
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
for path in paths:
    with open(path, encoding="utf-8") as file:
        # Keys are text in JSON, also those that YAML reads as numbers.
        document = json.loads(json.dumps(yaml.safe_load(file)))
    for error in validator.iter_errors(document):
        print(f"{path}: {error.json_path}: {error.message}")
