"""The bodies that routes build have exactly the fields that the OpenAPI document describes."""

from typing import Any

import pytest
from pydantic import BaseModel

from web.api import me, me_schemas, model_schemas, responses, schemas, share_schemas
from web.api.shares import ShareBody
from web.errors import ErrorBody
from web.jobs.uploads import SignedUpload


@pytest.mark.parametrize(
    ("body", "schema"),
    [
        (responses.JobBody, schemas.Job),
        (me.MeBody, me_schemas.Me),
        (me.LimitBody, me_schemas.Limit),
        (me.KeyBody, me_schemas.Key),
        (me.NewKeyBody, me_schemas.NewKey),
        (responses.ObjectBody, schemas.Object),
        (responses.ModelBody, model_schemas.ModelCard),
        (ErrorBody, schemas.Error),
        (SignedUpload, schemas.Upload),
        (ShareBody, share_schemas.Share),
    ],
    ids=lambda kind: kind.__name__,
)
def test_a_body_has_the_fields_of_its_schema(body: Any, schema: type[BaseModel]) -> None:
    assert set(body.__annotations__) == set(schema.model_fields)
