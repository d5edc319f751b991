"""Models of single modalities that teach another: the runs that a modulation names."""

from __future__ import annotations

from collections.abc import Mapping

from scmrl_plugins.core.interfaces import Modality
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.run import pretrained
from scmrl_plugins.core.run.directory import open_trained
from scmrl_plugins.registry import UserError


def load_teachers(parts: Assembly, runs: Mapping[Modality, str]) -> dict[Modality, AudioVisualModel]:
    """The models of some runs by modality, in evaluation mode, with weights that do not learn.

    Raises ``UserError`` for a run that is missing or not trained to the end, that uses another modality, or whose
    classes, inputs or samples differ.
    """
    teachers: dict[Modality, AudioVisualModel] = {}
    for modality, path in runs.items():
        try:
            source = open_trained(path).assemble()
            if source.model.modalities != (modality,):
                used = " and ".join(source.model.modalities)
                raise UserError(f"its model uses {used}; a teacher of {modality} uses {modality} alone")
            if source.model.classes != parts.model.classes:
                raise UserError(f"it has {len(source.model.classes)} classes that differ from the ones here")
            pretrained.check_inputs(parts, source, modality)
        except UserError as error:
            where = parts.config.source(f"modulation.teachers.{modality}")
            raise UserError(f"modulation.teachers.{modality} = {path}: {error}{where}") from error.__cause__
        teachers[modality] = source.model.eval().requires_grad_(False)
    return teachers
