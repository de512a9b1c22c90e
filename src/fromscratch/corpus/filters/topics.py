"""Every document gets a topic, for mixtures to weigh; of topics such as advertisement only a share stays."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fromscratch.core.settings import Settings, did_you_mean, refuse
from fromscratch.corpus.filters.filter import Batch, Filter, Objects, ReadExamples, Verdict, no_reasons
from fromscratch.corpus.filters.learned import LinearSettings, train_classes
from fromscratch.corpus.learning.chance import chance_of_ids

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LearnedTopics", "TopicLexicon", "Topics"]

OTHER = "other"
CODE = "code"
TOPICS = (
    "advertisement", "computing", "mathematics", "natural_science", "life_science", "medicine", "law_and_politics",
    "economy", "history", "military", "geography", "society", "religion_and_philosophy", "literature", "arts", "sports",
    "education", "food", "travel", "home_and_hobbies", "conversation",
)  # fmt: skip

Topic = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]
Share = Annotated[float, Field(ge=0, le=1)]


class TopicLexicon(Settings):
    """The topic of which a text has most words, by a lexicon of English and Chinese that comes with the package.

    It needs no examples and is coarse: 21 topics, of some 40 words each in either language. One word decides where
    there are no others, but three are needed to call a text an advertisement. Of 7,205 encyclopedia articles that
    editors had sorted, 94 % got a topic, and 75 % of these the right one.
    """

    kind: Literal["lexicon"] = "lexicon"

    least_share: float = Field(default=0.25, ge=0, le=1)
    """Share of what the document has of all topics that the first must have; below it is `other`. Ours."""


class LearnedTopics(LinearSettings):
    """The likeliest topic, by a classifier trained on examples of each."""

    kind: Literal["learned"] = "learned"

    examples: Mapping[Topic, tuple[str, ...]] = Field(min_length=2)
    """Names of `corpus.examples`, by topic."""

    least_probability: float = Field(default=0.4, ge=0, le=1)
    """Below it a document's topic is `other`. Ours."""


class Topics(Filter):
    """How topics are told, and of which only a share stays. The topic of source code is `code`."""

    columns: ClassVar[Mapping[str, str]] = {"topic": "string", "topic_score": "float32"}

    by: Annotated[TopicLexicon | LearnedTopics, Field(discriminator="kind")] = TopicLexicon()
    """What tells the topic."""

    keep_share: Mapping[Topic, Share] = Field(default={"advertisement": 0.1})
    """Share of a topic's documents that stays, chosen by their ids; of topics that are not named all stay. Yi
    down-samples advertisement (arXiv 2403.04652, section 2); a tenth is ours."""

    @model_validator(mode="after")
    def _name_unknown_topics(self) -> Self:
        known = [*(self.by.examples if isinstance(self.by, LearnedTopics) else TOPICS), OTHER, CODE]
        for name in self.keep_share if "keep_share" in self.model_fields_set else ():
            if name not in known:
                refuse(f"`@keep_share.{name}` is not a topic", did_you_mean(name, known))
        return self

    @property
    def reads(self) -> Mapping[str, tuple[str, ...]]:
        """The examples of each topic."""
        if isinstance(self.by, TopicLexicon):
            return {}
        return {f"by.examples.{topic}": names for topic, names in self.by.examples.items()}

    def prepare(self, folder: Path, read: ReadExamples) -> None:
        """Train the classifier, if there is one; what it gets right of examples it has not seen stands in its .json."""
        if isinstance(self.by, LearnedTopics):
            train_classes(folder / "topics", self.by.examples, self.by, read, "corpus.filters.topics.by.examples")

    def judge(self, batch: Batch) -> Verdict:
        """`downsampled_topic`, with the topic and the share that stays; topic and score of every document."""
        topics, scores = np.full(len(batch), CODE, object), np.ones(len(batch), np.float32)
        prose = np.flatnonzero(batch.languages != CODE)
        if len(prose):
            import pyarrow as pa

            texts = batch.texts.take(pa.array(prose))
            if isinstance(self.by, TopicLexicon):
                topics[prose], scores[prose] = _by_lexicon(texts, self.by)
            else:
                topics[prose], scores[prose] = _by_model(texts, self.by, batch.models / "topics")
        reasons, evidence = no_reasons(batch), no_reasons(batch)
        drawn = chance_of_ids(batch.ids, "topics")
        for topic, share in self.keep_share.items():
            for place in np.flatnonzero((topics == topic) & (drawn >= share)):
                reasons[place] = "downsampled_topic"
                evidence[place] = f"{topic}, score {scores[place]:.2f}, of which {share:.0%} stays"
        return Verdict(reasons, evidence, {"topic": topics, "topic_score": scores})


def _by_lexicon(texts: "pa.LargeStringArray", settings: TopicLexicon) -> tuple[Objects, NDArray[np.float64]]:
    """Topics of texts, and their share in all that the texts have of topics, as if each had one word more of none."""
    from fromscratch.corpus.learning.lexicons import load_lexicon, look_up

    lexicon = load_lexicon("topics")
    found = look_up(texts, lexicon)
    different, evidence = (np.empty((len(texts), len(lexicon.groups))) for _ in range(2))
    for column in range(len(lexicon.groups)):
        weights = lexicon.weights[found.phrases, column]
        different[:, column] = np.bincount(found.texts, weights, len(texts))
        evidence[:, column] = np.bincount(found.texts, weights * found.counts, len(texts))
    first = evidence.argmax(axis=1)
    every = np.arange(len(texts))
    scores = evidence[every, first] / (evidence.sum(axis=1) + 1)
    known = (different[every, first] >= lexicon.least[first]) & (scores >= settings.least_share)
    return np.where(known, np.array(lexicon.groups, object)[first], OTHER), scores


def _by_model(texts: "pa.LargeStringArray", settings: LearnedTopics, path: Path) -> tuple[Objects, NDArray[np.float64]]:
    """The likeliest topics of texts, and their probabilities."""
    from fromscratch.corpus.learning.linear_model import class_probabilities, load_linear

    model = load_linear(path)
    probabilities = class_probabilities(model, texts)
    scores = probabilities.max(axis=1)
    topics = np.array(model.report["classes"], object)[probabilities.argmax(axis=1)]
    return np.where(scores >= settings.least_probability, topics, OTHER), scores
