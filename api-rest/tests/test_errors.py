from api_rest.errors import Problem


def test_the_body_names_the_wrong_fields() -> None:
    problem = Problem(
        422, "invalid-fields", "some fields are wrong", fields={"stage": "is required"}
    )
    assert problem.body() == {
        "error": {
            "code": "invalid-fields",
            "message": "some fields are wrong",
            "fields": {"stage": "is required"},
        }
    }


def test_the_body_has_no_fields_when_none_is_wrong() -> None:
    assert Problem(404, "not-found", "no").body() == {
        "error": {"code": "not-found", "message": "no"}
    }
