from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.config.languages import read_languages
    from mlcslm.pretraining.language_model import LanguageModelRecipe, pretrain_language_model

    out = Path(snakemake.output[0]).parent
    recipe = LanguageModelRecipe(seed=config.seed)
    pretrain_language_model(out, snakemake.output.log, read_languages(config.languages), recipe)
