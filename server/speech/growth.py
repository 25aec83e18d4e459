"""A sentence that goes into the model while it is still being written."""

from __future__ import annotations

from server.speech.normalizer import Normalizer
from server.speech.spoken import EMPTY, SpokenText
from server.speech.stable_prefix import stable_end


class Growth:
    """How much of the sentence under way has been given out to be spoken.

    What has been given out stays: all that comes later of the sentence is said after it. One after
    the other, it serves all sentences of a task.

    Args:
        language: BCP 47 tag of the voice.
        expand: put numbers into words, as for whole sentences.
    """

    def __init__(self, *, language: str, expand: bool) -> None:
        # Text with markup is never given out early, so there is nothing to clean.
        self._normalizer = Normalizer(language=language, clean_markup=False, expand=expand)
        self.spoken = EMPTY
        """What has been given out, with indices into the sentence's text."""
        self.end = 0
        """How much of the sentence's text that was made of."""

    def advance(self, text: str) -> bool:
        """Give out what has become certain; tell whether anything has.

        Args:
            text: the sentence, as far as it has been written.
        """
        end = stable_end(text, self.end)
        if end == self.end:
            return False
        spoken = self._normalizer.normalize(text[:end])
        if not _begins_with(spoken, self.spoken):
            # Another script has come up, in which the numbers before it would be read otherwise.
            return False
        self.spoken, self.end = spoken, end
        return True

    def complete(self, whole: SpokenText) -> SpokenText:
        """Return how the whole sentence is said, and begin anew.

        Args:
            whole: the whole sentence, normalised without regard to what has been given out.
        """
        said, end = self.spoken, self.end
        self.spoken, self.end = EMPTY, 0
        if _begins_with(whole, said):
            return whole
        rest = sum(origin < end for origin in whole.origins)
        return SpokenText(
            said.text + whole.text[rest:],
            said.origins + whole.origins[rest:],
            said.ends + whole.ends[rest:],
        )


def _begins_with(whole: SpokenText, beginning: SpokenText) -> bool:
    return whole.text.startswith(beginning.text)
