"""Whether a model's context holds what a profile asks of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadprofiles.dialects import load_dialect
from loadprofiles.errors import ProfileError
from loadprofiles.prompts.lengths import longest
from loadprofiles.prompts.pairs import longest_of

if TYPE_CHECKING:
    from loadprofiles.profile import Profile


def check_fits(
    profile: Profile, max_model_len: int | None, dialect: str = "openai-completions"
) -> None:
    """Refuse a profile whose longest request the model cannot take, the chat template included.

    Lengths that only a file knows are looked at when a cell is planned.

    Raises:
        ProfileError: naming the lengths and the limit.
        UnknownDialectError: no dialect of that name.
    """
    output = longest_of(profile, "output_tokens")
    parts = {"prompt_tokens": longest_of(profile, "prompt_tokens"), "output_tokens": output}
    words = [f"{tokens} {name}" for name, tokens in parts.items()]
    template = load_dialect(dialect).template_tokens
    if profile.shared_prefix is not None:
        parts["shared_prefix.tokens"] = longest(profile.shared_prefix.tokens)
        words.append(f"{parts['shared_prefix.tokens']} shared_prefix.tokens")
    if profile.session is not None and profile.dataset is None:
        assert profile.session.turns is not None  # noqa: S101 - the profile looked
        assert profile.session.user_tokens is not None  # noqa: S101
        again = longest(profile.session.turns) - 1
        said = longest(profile.session.user_tokens)
        parts["session.turns"] = again * (output + said)
        words.append(f"{again} further turns × ({said} session.user_tokens + {output})")
        template *= again + 1
    if template:
        words.append(f"{template} for the chat template")
    field = max(parts, key=lambda name: parts[name])
    total = sum(parts.values()) + template
    if max_model_len is None or total <= max_model_len:
        return
    raise ProfileError(
        field,
        f"up to {' + '.join(words)} = {total} do not fit the model's {max_model_len} "
        f"(max_model_len); lower them by {total - max_model_len} together, or serve the model "
        "with a longer context",
    )
