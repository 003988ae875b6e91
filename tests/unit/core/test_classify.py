from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottla.core.classify import Fatal, is_fatal
from ottla.errors import WiringError


class Root(Exception): ...


class Left(Root): ...


class Right(Root): ...


class LeftLeaf(Left): ...


class Both(Left, Right): ...


CLASSES: list[type[BaseException]] = [Root, Left, Right, LeftLeaf, Both, Exception, ValueError]
NOTHING = Fatal(())


def from_(error: BaseException, *causes: BaseException) -> BaseException:
    """`error`, whose explicit cause is the next one, and so on."""
    below = error
    for cause in causes:
        below.__cause__ = cause
        below = cause
    return error


@pytest.mark.parametrize(
    ("error", "listener", "app", "fatal"),
    [
        (ValueError(), NOTHING, NOTHING, False),
        (ValueError(), Fatal((ValueError,)), NOTHING, True),
        (ValueError(), NOTHING, Fatal((ValueError,)), True),
        (KeyError(), Fatal((ValueError,)), NOTHING, False),
        (UnicodeError(), Fatal((ValueError,)), NOTHING, True),  # a subclass
        (ValueError(), Fatal((UnicodeError,)), NOTHING, False),  # a superclass
        (LeftLeaf(), Fatal((Root,), retryable=(Left,)), NOTHING, False),
        (Right(), Fatal((Root,), retryable=(Left,)), NOTHING, True),
        (LeftLeaf(), Fatal((LeftLeaf, Root), retryable=(Left,)), NOTHING, True),
        (LeftLeaf(), Fatal((Root,)), Fatal((), retryable=(Left,)), False),  # the app's is nearer
        (LeftLeaf(), Fatal((), retryable=(Left,)), Fatal((Root,)), False),
        (LeftLeaf(), Fatal((Left,)), Fatal((), retryable=(Left,)), True),  # the same class: the listener's
        (LeftLeaf(), Fatal((), retryable=(Left,)), Fatal((Left,)), False),
        (Both(), Fatal((Right,), retryable=(Left,)), NOTHING, False),  # the first base is nearer
        (Both(), Fatal((Left,), retryable=(Right,)), NOTHING, True),
        (KeyboardInterrupt(), Fatal((BaseException,)), NOTHING, True),
    ],
)
def test_the_nearest_named_class_decides(
    error: BaseException,
    listener: Fatal,
    app: Fatal,
    fatal: bool,  # noqa: FBT001
) -> None:
    assert is_fatal(error, listener=listener, app=app) is fatal


VALUE_ERROR = Fatal((ValueError,))
WITH_CAUSES = Fatal((ValueError,), causes=True)


@pytest.mark.parametrize(
    ("error", "listener", "app", "fatal"),
    [
        (from_(KeyError(), ValueError()), VALUE_ERROR, NOTHING, False),
        (from_(KeyError(), ValueError()), WITH_CAUSES, NOTHING, True),
        (from_(KeyError(), OSError(), ValueError()), WITH_CAUSES, NOTHING, True),
        (from_(KeyError(), ValueError()), VALUE_ERROR, Fatal((), causes=True), True),
        (from_(KeyError(), ValueError()), Fatal((), causes=True), VALUE_ERROR, True),
        (from_(KeyError(), OSError()), WITH_CAUSES, NOTHING, False),
        (
            from_(KeyError(), ValueError()),  # what matches is not judged by its cause
            Fatal((ValueError,), retryable=(KeyError,), causes=True),
            NOTHING,
            False,
        ),
        (
            from_(OSError(), KeyError(), ValueError()),
            Fatal((ValueError,), retryable=(KeyError,), causes=True),
            NOTHING,
            False,
        ),
    ],
)
def test_an_error_that_matches_nothing_is_judged_by_its_causes_where_that_is_asked(
    error: BaseException,
    listener: Fatal,
    app: Fatal,
    fatal: bool,  # noqa: FBT001
) -> None:
    assert is_fatal(error, listener=listener, app=app) is fatal


def test_what_was_being_handled_is_no_cause() -> None:
    error = KeyError()
    error.__context__ = ValueError()

    assert not is_fatal(error, listener=WITH_CAUSES)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_circle_of_causes_ends(length: int) -> None:
    errors = [KeyError() for _ in range(length)]
    from_(*errors, errors[0])

    assert not is_fatal(errors[0], listener=WITH_CAUSES)


def test_a_circle_further_down_ends() -> None:
    first, second = OSError(), OSError()
    from_(first, second, first)

    assert not is_fatal(from_(KeyError(), first), listener=WITH_CAUSES)


def test_a_long_chain_of_causes_is_judged_to_its_end() -> None:
    error = from_(KeyError(), *[KeyError() for _ in range(100_000)], ValueError())

    assert is_fatal(error, listener=WITH_CAUSES)


Choice = dict[type[BaseException], bool]
CHOICES = st.dictionaries(st.sampled_from(CLASSES), st.booleans())


def policy(choice: Choice) -> Fatal:
    return Fatal(
        tuple(cls for cls, fatal in choice.items() if fatal),
        retryable=tuple(cls for cls, fatal in choice.items() if not fatal),
    )


@given(st.sampled_from(CLASSES), CHOICES, CHOICES)
def test_beside_a_model_that_lists_every_word_by_its_distance(
    cls: type[BaseException], listener: Choice, app: Choice
) -> None:
    words = [
        (cls.__mro__.index(named), side, fatal)
        for side, choice in enumerate((listener, app))
        for named, fatal in choice.items()
        if issubclass(cls, named)
    ]

    verdict = is_fatal(cls(), listener=policy(listener), app=policy(app))

    assert verdict is (min(words)[2] if words else False)


@given(st.lists(st.sampled_from(CLASSES), min_size=1, max_size=4), CHOICES, CHOICES)
def test_a_chain_is_judged_by_its_first_error_that_matches(
    chain: list[type[BaseException]], listener: Choice, app: Choice
) -> None:
    sides = {"listener": policy(listener), "app": policy(app)}
    named = tuple({**listener, **app})
    matching = [cls for cls in chain if issubclass(cls, named)]
    with_causes = Fatal(sides["listener"].types, sides["listener"].retryable, causes=True)

    verdict = is_fatal(from_(*[cls() for cls in chain]), listener=with_causes, app=sides["app"])

    assert verdict is (is_fatal(matching[0](), **sides) if matching else False)


@pytest.mark.parametrize(
    ("types", "retryable", "problem"),
    [
        ((ValueError,), (ValueError,), "ValueError cannot be both fatal and retryable"),
        ((int,), (), "<class 'int'> in types is no exception class"),
        ((), ("ValueError",), "'ValueError' in retryable is no exception class"),
        ((ValueError(),), (), r"ValueError\(\) in types is no exception class"),
        (ValueError, (), "types=<class 'ValueError'> must be a tuple of exception classes"),
        ([ValueError], (), r"types=\[<class 'ValueError'>\] must be a tuple of exception classes"),
    ],
)
def test_what_makes_no_sense_is_refused(types: object, retryable: object, problem: str) -> None:
    with pytest.raises(WiringError, match=f"^Fatal: {problem}$"):
        Fatal(types, retryable)  # type: ignore[arg-type]


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(WiringError) as caught:
        Fatal((int, str), retryable=(bytes,))  # type: ignore[arg-type]

    assert str(caught.value) == "Fatal: " + "; ".join(
        f"<class '{name}'> in {side} is no exception class"
        for name, side in (("int", "types"), ("str", "types"), ("bytes", "retryable"))
    )
