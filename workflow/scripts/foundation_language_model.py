from pathlib import Path

from mlcslm.workflow import job

with job(snakemake) as (config, layout):
    from mlcslm.foundation.language_model import LanguageModelRecipe, pretrain_language_model
    from mlcslm.languages import read_languages

    out = Path(snakemake.output[0]).parent
    recipe = LanguageModelRecipe(seed=config.seed)
    pretrain_language_model(out, snakemake.output.log, read_languages(config.languages), recipe)
