"""What Schemathesis holds against an answer.

Its own check takes any error for a fault of the server, but a made-up id is rightly BAD_REQUEST here, and what is another's
FORBIDDEN: both with data beside them, and with a code.
"""

import schemathesis

# A random document may be larger than the server allows, and random sign-ins too many.
REFUSALS = {"QUERY_TOO_LARGE", "RATE_LIMITED"}


@schemathesis.check
def graphql_answer(ctx, response, case):
    assert response.status_code < 500, f"status {response.status_code}"
    answer = response.json()
    errors = answer.get("errors", [])
    codes = {error.get("extensions", {}).get("code") for error in errors}
    assert None not in codes, f"an error without a code: {errors}"
    assert all(error["message"].strip() for error in errors), f"an error without words: {errors}"
    assert "INTERNAL" not in codes, f"a fault: {errors}"
    valid = case.meta is None or not case.meta.generation.mode.is_negative
    assert not valid or "data" in answer or codes <= REFUSALS, f"a valid document was refused: {errors}"
