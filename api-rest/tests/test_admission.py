import pytest
from api_rest.admission import Admission
from api_rest.errors import Busy


def test_as_many_as_there_are_places_are_let_in() -> None:
    admission = Admission(2)
    with admission.within(0), admission.within(0):
        with pytest.raises(Busy, match="too many large answers") as caught, admission.within(0):
            pass
        assert caught.value.code == "busy"


def test_a_place_is_free_again_whatever_came_of_it() -> None:
    admission = Admission(1)
    with pytest.raises(KeyError), admission.within(0):
        raise KeyError
    with admission.within(0):
        pass
