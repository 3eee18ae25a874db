"""Models: what live workers can do."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from web.api import model_schemas, responses, schemas
from web.errors import json_response
from web.jobs.service import service_of

router = APIRouter(prefix=schemas.PREFIX, tags=schemas.TAGS)


@router.get("/models", responses={200: {"model": model_schemas.Models}, **schemas.FAILURES})
async def list_models(
    request: Request,
    lang: Annotated[
        str, Query(pattern="^([a-z]{2,3})?$", description="Adds the models' texts in a language.")
    ] = "",
) -> Response:
    """What live workers can do."""
    catalogue = await service_of(request).catalogue.get()
    return json_response({"models": responses.models(catalogue, lang)})
