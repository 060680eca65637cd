-- Tables of results.duckdb. Every table and column carries its own documentation (COMMENT ON); docs/results.md repeats it.

CREATE TABLE settings (key VARCHAR PRIMARY KEY, value VARCHAR NOT NULL);
COMMENT ON TABLE settings IS 'What the database was built with, one setting per row';
COMMENT ON COLUMN settings.key IS 'config, config_fingerprint, tables_fingerprint, manifest_fingerprint/<split>, preset, corpus, models, protocol, seed, bootstrap_samples, bootstrap_level or mlcslm_version';
COMMENT ON COLUMN settings.value IS 'The setting as text; config is JSON, fingerprints are SHA-256';

CREATE TABLE groups (
    grp VARCHAR PRIMARY KEY, folder VARCHAR NOT NULL, language VARCHAR NOT NULL, token VARCHAR NOT NULL,
    unit VARCHAR NOT NULL CHECK (unit IN ('word', 'character')), prompt VARCHAR NOT NULL
);
COMMENT ON TABLE groups IS 'Languages and accents, one row per row of config/languages.tsv';
COMMENT ON COLUMN groups.grp IS 'Name of the group in ids and tables';
COMMENT ON COLUMN groups.folder IS 'Folder of the group below a split of the corpus';
COMMENT ON COLUMN groups.language IS 'ISO 639-1 code';
COMMENT ON COLUMN groups.token IS 'Language token that answers should begin with, e.g. <LANG_EN>';
COMMENT ON COLUMN groups.unit IS 'What the error rate counts: word, or character (Japanese, Korean, Thai)';
COMMENT ON COLUMN groups.prompt IS '"Transcribe the speech above" in that language';

CREATE TABLE utterances (
    split VARCHAR NOT NULL, utterance_id VARCHAR NOT NULL, session_id VARCHAR NOT NULL,
    grp VARCHAR NOT NULL REFERENCES groups (grp), speaker VARCHAR NOT NULL, turn INTEGER NOT NULL,
    "start" DOUBLE NOT NULL, "end" DOUBLE NOT NULL, audio VARCHAR NOT NULL, sample_rate INTEGER NOT NULL, text VARCHAR,
    PRIMARY KEY (split, utterance_id)
);
COMMENT ON TABLE utterances IS 'The manifests, one row per utterance';
COMMENT ON COLUMN utterances.split IS 'train, dev or test';
COMMENT ON COLUMN utterances.utterance_id IS 'Official id, <Language>[-<Accent>]-<session>-<speaker>-<start>-<end>, times in centiseconds';
COMMENT ON COLUMN utterances.session_id IS 'Conversation, <Language or Accent>_<session>: the unit of intervals and of Track 2';
COMMENT ON COLUMN utterances.grp IS 'Language or accent';
COMMENT ON COLUMN utterances.speaker IS 'O1 or O2';
COMMENT ON COLUMN utterances.turn IS 'Order within the session, from 0';
COMMENT ON COLUMN utterances."start" IS 'Start in the session''s audio, seconds';
COMMENT ON COLUMN utterances."end" IS 'End in the session''s audio, seconds';
COMMENT ON COLUMN utterances.audio IS 'Path of the session''s wav';
COMMENT ON COLUMN utterances.sample_rate IS 'Sampling rate of that file, Hz';
COMMENT ON COLUMN utterances.text IS 'Raw reference transcript; NULL where the corpus has none';

CREATE TABLE systems (
    system VARCHAR PRIMARY KEY, checkpoint VARCHAR, parent VARCHAR, decoding VARCHAR, method VARCHAR, source VARCHAR,
    parameters BIGINT
);
COMMENT ON TABLE systems IS 'Systems decoded here, a checkpoint or a ready recogniser (docs/recognizers.md) with a decoding each, and external ones (docs/submissions.md)';
COMMENT ON COLUMN systems.system IS '<checkpoint>/<decoding> or <recogniser>/<search>; for an external system its own name';
COMMENT ON COLUMN systems.checkpoint IS 'Checkpoint, named after its stage; NULL for recognisers and external systems';
COMMENT ON COLUMN systems.parent IS 'Checkpoint that its training started from; NULL for the foundation models and for recognisers';
COMMENT ON COLUMN systems.decoding IS 'Name of the decoding in the config, or greedy or beam-<beams> for a recogniser; NULL for external systems';
COMMENT ON COLUMN systems.method IS 'Label of the method; NULL where it has none';
COMMENT ON COLUMN systems.source IS 'Files that an external system was read from; NULL if decoded here';
COMMENT ON COLUMN systems.parameters IS 'Parameters of a ready recogniser; NULL for other systems';

CREATE TABLE hypotheses (
    system VARCHAR NOT NULL, split VARCHAR NOT NULL, utterance_id VARCHAR NOT NULL, raw_text VARCHAR NOT NULL,
    language VARCHAR, transcript VARCHAR NOT NULL, think VARCHAR, tokens INTEGER, audio_tokens INTEGER,
    stop_reason VARCHAR CHECK (stop_reason IN ('end', 'length', 'malformed')), seconds DOUBLE,
    "loop" BOOLEAN, first_pass VARCHAR, PRIMARY KEY (system, split, utterance_id)
);
COMMENT ON TABLE hypotheses IS 'Each system''s answers, one row per utterance; of external systems only the transcript is known, and the other columns are NULL';
COMMENT ON COLUMN hypotheses.system IS 'System that answered';
COMMENT ON COLUMN hypotheses.split IS 'Split of the utterance';
COMMENT ON COLUMN hypotheses.utterance_id IS 'Utterance';
COMMENT ON COLUMN hypotheses.raw_text IS 'Everything generated, special tokens included';
COMMENT ON COLUMN hypotheses.language IS 'Language token of the answer; NULL where it has none';
COMMENT ON COLUMN hypotheses.transcript IS 'Transcript parsed from the answer, before any protocol''s normalisation';
COMMENT ON COLUMN hypotheses.think IS 'Reasoning parsed from the answer; NULL where it has none';
COMMENT ON COLUMN hypotheses.tokens IS 'Tokens generated, including the end token';
COMMENT ON COLUMN hypotheses.audio_tokens IS 'Audio tokens in the prompt (10 per second); 0 for recognisers';
COMMENT ON COLUMN hypotheses.stop_reason IS 'end (end token), length (limit reached) or malformed (tags missing or out of order)';
COMMENT ON COLUMN hypotheses.seconds IS 'The utterance''s share of its batch''s wall time';
COMMENT ON COLUMN hypotheses."loop" IS 'Whether the answer runs into repetition (docs/decoding.md); NULL in files older than this column';
COMMENT ON COLUMN hypotheses.first_pass IS 'What was heard before, by a CTC head or another checkpoint, as in the prompt, a line each (docs/recipes.md); NULL for systems without';

CREATE TABLE asr_counts (
    system VARCHAR NOT NULL, split VARCHAR NOT NULL, protocol VARCHAR NOT NULL, utterance_id VARCHAR NOT NULL,
    session_id VARCHAR NOT NULL, grp VARCHAR NOT NULL, length INTEGER NOT NULL, errors INTEGER NOT NULL,
    insertions INTEGER NOT NULL, deletions INTEGER NOT NULL, substitutions INTEGER NOT NULL,
    PRIMARY KEY (system, split, protocol, utterance_id)
);
COMMENT ON TABLE asr_counts IS 'Errors of each system on every utterance of the manifest; a missing hypothesis counts as deletions';
COMMENT ON COLUMN asr_counts.system IS 'System scored';
COMMENT ON COLUMN asr_counts.split IS 'Split of the utterance';
COMMENT ON COLUMN asr_counts.protocol IS 'Scoring protocol, e.g. mlcslm-2025';
COMMENT ON COLUMN asr_counts.utterance_id IS 'Utterance';
COMMENT ON COLUMN asr_counts.session_id IS 'Its session';
COMMENT ON COLUMN asr_counts.grp IS 'Its language or accent';
COMMENT ON COLUMN asr_counts.length IS 'Reference tokens under the protocol (words, or characters)';
COMMENT ON COLUMN asr_counts.errors IS 'insertions + deletions + substitutions';
COMMENT ON COLUMN asr_counts.insertions IS 'Tokens of the hypothesis that are not in the reference';
COMMENT ON COLUMN asr_counts.deletions IS 'Tokens of the reference that are not in the hypothesis';
COMMENT ON COLUMN asr_counts.substitutions IS 'Tokens of the reference replaced by others';

CREATE TABLE reflections (
    system VARCHAR NOT NULL, split VARCHAR NOT NULL, protocol VARCHAR NOT NULL, utterance_id VARCHAR NOT NULL,
    first_errors INTEGER NOT NULL, final_errors INTEGER NOT NULL, length INTEGER NOT NULL,
    named_substitutions INTEGER NOT NULL, named_insertions INTEGER NOT NULL, named_deletions INTEGER NOT NULL,
    true_substitutions INTEGER NOT NULL, true_insertions INTEGER NOT NULL, true_deletions INTEGER NOT NULL,
    named_right INTEGER NOT NULL, PRIMARY KEY (system, split, protocol, utterance_id)
);
COMMENT ON TABLE reflections IS 'What a system''s reflections did, one row per answer whose reflection could be parsed (docs/reasoning.md)';
COMMENT ON COLUMN reflections.system IS 'System that answered';
COMMENT ON COLUMN reflections.split IS 'Split of the utterance';
COMMENT ON COLUMN reflections.protocol IS 'Scoring protocol of first_errors, final_errors and length';
COMMENT ON COLUMN reflections.utterance_id IS 'Utterance';
COMMENT ON COLUMN reflections.first_errors IS 'Errors of the hypothesis inside <think>';
COMMENT ON COLUMN reflections.final_errors IS 'Errors of the final transcript, as in asr_counts';
COMMENT ON COLUMN reflections.length IS 'Reference tokens';
COMMENT ON COLUMN reflections.named_substitutions IS 'Substitutions that the reflection names';
COMMENT ON COLUMN reflections.named_insertions IS 'Insertions that it names';
COMMENT ON COLUMN reflections.named_deletions IS 'Deletions that it names';
COMMENT ON COLUMN reflections.true_substitutions IS 'Substitutions in the hypothesis inside <think>, under mlcslm-2025 as for all named and true errors';
COMMENT ON COLUMN reflections.true_insertions IS 'Insertions in it';
COMMENT ON COLUMN reflections.true_deletions IS 'Deletions in it';
COMMENT ON COLUMN reflections.named_right IS 'Named errors that are true errors, of the same kind and in the same units';

CREATE TABLE oracles (
    system VARCHAR NOT NULL, split VARCHAR NOT NULL, protocol VARCHAR NOT NULL, utterance_id VARCHAR NOT NULL,
    candidates INTEGER NOT NULL, length INTEGER NOT NULL, errors INTEGER NOT NULL,
    PRIMARY KEY (system, split, protocol, utterance_id, candidates)
);
COMMENT ON TABLE oracles IS 'Errors that remain if a judge who knows the reference chooses among a consensus''s candidates (docs/decoding.md), for the first 1, 2, 4, … of them and for all';
COMMENT ON COLUMN oracles.system IS 'System whose decoding has candidates';
COMMENT ON COLUMN oracles.split IS 'Split of the utterance';
COMMENT ON COLUMN oracles.protocol IS 'Scoring protocol';
COMMENT ON COLUMN oracles.utterance_id IS 'Utterance';
COMMENT ON COLUMN oracles.candidates IS 'Of the first so many candidates';
COMMENT ON COLUMN oracles.length IS 'Reference tokens';
COMMENT ON COLUMN oracles.errors IS 'Errors of the best of these';

CREATE TABLE training_log (
    checkpoint VARCHAR NOT NULL, step INTEGER NOT NULL, loss DOUBLE NOT NULL, learning_rate DOUBLE NOT NULL,
    tokens_per_second DOUBLE NOT NULL, seconds DOUBLE NOT NULL, PRIMARY KEY (checkpoint, step)
);
COMMENT ON TABLE training_log IS 'Training of each checkpoint, one row per optimiser step';
COMMENT ON COLUMN training_log.checkpoint IS 'Checkpoint being trained';
COMMENT ON COLUMN training_log.step IS 'Optimiser step within the stage, from 1';
COMMENT ON COLUMN training_log.loss IS 'Training loss of the step, nats per labelled token';
COMMENT ON COLUMN training_log.learning_rate IS 'Learning rate of the step';
COMMENT ON COLUMN training_log.tokens_per_second IS 'Training throughput';
COMMENT ON COLUMN training_log.seconds IS 'Seconds since the stage started';

CREATE TABLE dev_curves (
    checkpoint VARCHAR NOT NULL, step INTEGER NOT NULL, dev_error_rate DOUBLE NOT NULL, dev_loss DOUBLE,
    PRIMARY KEY (checkpoint, step)
);
COMMENT ON TABLE dev_curves IS 'What stages with eval_steps measured on their slice of dev while they trained (docs/recipes.md)';
COMMENT ON COLUMN dev_curves.checkpoint IS 'Checkpoint being trained';
COMMENT ON COLUMN dev_curves.step IS 'Optimiser step within the stage';
COMMENT ON COLUMN dev_curves.dev_error_rate IS 'WER/CER of greedy answers, pooled over the slice, as a fraction';
COMMENT ON COLUMN dev_curves.dev_loss IS 'Loss of the references, nats per token; NULL where answers have reflections, which dev lacks';

CREATE TABLE reinforcement_log (
    checkpoint VARCHAR NOT NULL, step INTEGER NOT NULL, name VARCHAR NOT NULL, value DOUBLE NOT NULL,
    PRIMARY KEY (checkpoint, step, name)
);
COMMENT ON TABLE reinforcement_log IS 'What reinforcement stages log in addition to training_log, one row per step and quantity';
COMMENT ON COLUMN reinforcement_log.checkpoint IS 'Checkpoint being trained';
COMMENT ON COLUMN reinforcement_log.step IS 'Optimiser step within the stage, from 1';
COMMENT ON COLUMN reinforcement_log.name IS 'reward (weighted sum), reward_<name>, reward_<name>_std, kl, completion_length, think_length, zero_spread_share, well_formed_share or collapsed (0 or 1)';
COMMENT ON COLUMN reinforcement_log.value IS 'Its value over the step''s rollouts';

CREATE TABLE stage_costs (
    checkpoint VARCHAR PRIMARY KEY, parent VARCHAR, steps INTEGER NOT NULL, flop DOUBLE NOT NULL, ctc_flop DOUBLE
);
COMMENT ON TABLE stage_costs IS 'What training the stages of the recipes takes, by the plan (docs/plan.md)';
COMMENT ON COLUMN stage_costs.checkpoint IS 'Checkpoint being trained';
COMMENT ON COLUMN stage_costs.parent IS 'Checkpoint that its training started from; NULL for the foundation models';
COMMENT ON COLUMN stage_costs.steps IS 'Optimiser steps of the stage';
COMMENT ON COLUMN stage_costs.flop IS 'Operations of all its steps, sampling included, for utterances of mean length';
COMMENT ON COLUMN stage_costs.ctc_flop IS 'Operations of training the CTC head on its encoder, which its flop does not include; NULL if no decoding has one';

CREATE TABLE recipes (
    recipe VARCHAR PRIMARY KEY, system VARCHAR NOT NULL, checkpoint VARCHAR NOT NULL, control VARCHAR, note VARCHAR,
    ctc BOOLEAN NOT NULL
);
COMMENT ON TABLE recipes IS 'The config''s recipes (docs/recipes.md), the rows of Table 8';
COMMENT ON COLUMN recipes.recipe IS 'Name';
COMMENT ON COLUMN recipes.system IS 'System that it is';
COMMENT ON COLUMN recipes.checkpoint IS 'The system''s checkpoint';
COMMENT ON COLUMN recipes.control IS 'Recipe of the same cost that it is compared with; NULL: none';
COMMENT ON COLUMN recipes.note IS 'What readers should know about it';
COMMENT ON COLUMN recipes.ctc IS 'Whether a CTC head judges its candidates or hears its first pass; Table 8 adds what training it takes';

CREATE TABLE intervals (
    measure VARCHAR NOT NULL CHECK (measure IN ('wer', 'tcpwer', 'der')), system VARCHAR NOT NULL, split VARCHAR NOT NULL,
    protocol VARCHAR NOT NULL, low DOUBLE NOT NULL, high DOUBLE NOT NULL, PRIMARY KEY (measure, system, split, protocol)
);
COMMENT ON TABLE intervals IS '95 % intervals of the pooled rates over sessions, by a jackknife within groups; no row below five sessions (docs/scoring.md)';
COMMENT ON COLUMN intervals.measure IS 'wer (WER/CER), tcpwer (tcpWER/tcpCER) or der';
COMMENT ON COLUMN intervals.system IS 'System scored; for tcpwer and der a diarizer';
COMMENT ON COLUMN intervals.split IS 'Split scored';
COMMENT ON COLUMN intervals.protocol IS 'Scoring protocol';
COMMENT ON COLUMN intervals.low IS 'Lower end, percent';
COMMENT ON COLUMN intervals.high IS 'Upper end, percent';

CREATE TABLE comparisons (
    measure VARCHAR NOT NULL, split VARCHAR NOT NULL, grp VARCHAR NOT NULL, system_a VARCHAR NOT NULL, system_b VARCHAR NOT NULL,
    sessions INTEGER NOT NULL, rate_a DOUBLE NOT NULL, rate_b DOUBLE NOT NULL, difference DOUBLE NOT NULL,
    low DOUBLE, high DOUBLE, p_value DOUBLE NOT NULL, fewer INTEGER NOT NULL, more INTEGER NOT NULL,
    PRIMARY KEY (measure, split, grp, system_a, system_b)
);
COMMENT ON TABLE comparisons IS 'Every two systems scored on a split, compared session by session; each pair once, system_a being the one that the config lists first';
COMMENT ON COLUMN comparisons.measure IS 'wer (WER/CER of systems), tcpwer (tcpWER/tcpCER of diarizers) or der';
COMMENT ON COLUMN comparisons.split IS 'Split scored';
COMMENT ON COLUMN comparisons.grp IS 'Language or accent; all: pooled; mean of groups: every group weighted equally';
COMMENT ON COLUMN comparisons.system_a IS 'System or diarizer compared against';
COMMENT ON COLUMN comparisons.system_b IS 'System or diarizer compared';
COMMENT ON COLUMN comparisons.sessions IS 'Sessions on which both were scored';
COMMENT ON COLUMN comparisons.rate_a IS 'Rate of system_a, percent: pooled, or the mean of its groups'' rates';
COMMENT ON COLUMN comparisons.rate_b IS 'Rate of system_b, likewise';
COMMENT ON COLUMN comparisons.difference IS 'rate_b - rate_a, points: negative where system_b is better';
COMMENT ON COLUMN comparisons.low IS 'Lower end of the paired 95 % interval of the difference, points; NULL where there are too few sessions (docs/scoring.md)';
COMMENT ON COLUMN comparisons.high IS 'Upper end';
COMMENT ON COLUMN comparisons.p_value IS 'Two-sided p-value of the randomisation test over sessions; with n sessions at least 2 / 2^n';
COMMENT ON COLUMN comparisons.fewer IS 'Sessions in which system_b made fewer errors';
COMMENT ON COLUMN comparisons.more IS 'Sessions in which system_b made more errors';

CREATE TABLE diarizers (
    diarizer VARCHAR PRIMARY KEY, vad VARCHAR, max_segment_s DOUBLE, embedding VARCHAR,
    num_speakers INTEGER, keep_vad_boundaries BOOLEAN, resegment BOOLEAN, system VARCHAR, method VARCHAR, source VARCHAR
);
COMMENT ON TABLE diarizers IS 'The config''s diarizers (Track 2) and external ones, of which only name, method and source are known';
COMMENT ON COLUMN diarizers.diarizer IS 'Name';
COMMENT ON COLUMN diarizers.vad IS 'Voice activity detector';
COMMENT ON COLUMN diarizers.max_segment_s IS 'Longest segment of the detector, seconds';
COMMENT ON COLUMN diarizers.embedding IS 'Speaker embedding';
COMMENT ON COLUMN diarizers.num_speakers IS 'Speakers per session if given; NULL: estimated by the clustering';
COMMENT ON COLUMN diarizers.keep_vad_boundaries IS 'Whether adjacent segments of one speaker are kept apart';
COMMENT ON COLUMN diarizers.resegment IS 'Whether a second, finer pass finds where speakers change';
COMMENT ON COLUMN diarizers.system IS 'System that transcribes the segments, <checkpoint>/<decoding>';
COMMENT ON COLUMN diarizers.method IS 'Label of an external system; NULL where it has none';
COMMENT ON COLUMN diarizers.source IS 'Files that an external system was read from; NULL if diarized here';

CREATE TABLE diarization_counts (
    system VARCHAR NOT NULL REFERENCES diarizers (diarizer), split VARCHAR NOT NULL, protocol VARCHAR NOT NULL,
    recording VARCHAR NOT NULL, grp VARCHAR NOT NULL,
    scored_speech DOUBLE NOT NULL, missed DOUBLE NOT NULL, false_alarm DOUBLE NOT NULL, confusion DOUBLE NOT NULL,
    speakers_reference INTEGER NOT NULL, speakers_found INTEGER NOT NULL, tcp_errors INTEGER, tcp_length INTEGER,
    tcp_insertions INTEGER, tcp_deletions INTEGER, tcp_substitutions INTEGER,
    cp_errors INTEGER, cp_length INTEGER, orc_errors INTEGER, orc_length INTEGER,
    timing_errors INTEGER, confusion_errors INTEGER, missed_errors INTEGER, false_alarm_errors INTEGER,
    recognition_errors INTEGER, oracle_errors INTEGER, oracle_length INTEGER, orc_exact BOOLEAN,
    PRIMARY KEY (system, split, protocol, recording)
);
COMMENT ON TABLE diarization_counts IS 'Errors of each diarizer in every recording (docs/scoring.md); word errors are NULL for external turns without words, oracle errors for all external systems';
COMMENT ON COLUMN diarization_counts.system IS 'Diarizer scored';
COMMENT ON COLUMN diarization_counts.split IS 'Split of the recording';
COMMENT ON COLUMN diarization_counts.protocol IS 'Scoring protocol of the words';
COMMENT ON COLUMN diarization_counts.recording IS 'Session';
COMMENT ON COLUMN diarization_counts.grp IS 'Its language or accent';
COMMENT ON COLUMN diarization_counts.scored_speech IS 'Reference speech, seconds; overlapped speech counts for each speaker';
COMMENT ON COLUMN diarization_counts.missed IS 'Reference speech that no speaker was found for, seconds';
COMMENT ON COLUMN diarization_counts.false_alarm IS 'Speech found where nobody speaks, seconds';
COMMENT ON COLUMN diarization_counts.confusion IS 'Speech attributed to the wrong speaker, seconds';
COMMENT ON COLUMN diarization_counts.speakers_reference IS 'Speakers in the reference';
COMMENT ON COLUMN diarization_counts.speakers_found IS 'Speakers found';
COMMENT ON COLUMN diarization_counts.tcp_errors IS 'Errors of tcpWER/tcpCER';
COMMENT ON COLUMN diarization_counts.tcp_length IS 'Its reference tokens';
COMMENT ON COLUMN diarization_counts.tcp_insertions IS 'Its insertions';
COMMENT ON COLUMN diarization_counts.tcp_deletions IS 'Its deletions';
COMMENT ON COLUMN diarization_counts.tcp_substitutions IS 'Its substitutions';
COMMENT ON COLUMN diarization_counts.cp_errors IS 'Errors of cpWER: as tcpWER, ignoring times';
COMMENT ON COLUMN diarization_counts.cp_length IS 'Its reference tokens';
COMMENT ON COLUMN diarization_counts.orc_errors IS 'Errors of tcORC-WER: as tcpWER, ignoring speakers';
COMMENT ON COLUMN diarization_counts.orc_length IS 'Its reference tokens';
COMMENT ON COLUMN diarization_counts.timing_errors IS 'Of tcp_errors: right words more than the collar away from their time';
COMMENT ON COLUMN diarization_counts.confusion_errors IS 'Of tcp_errors: words attributed to the wrong speaker';
COMMENT ON COLUMN diarization_counts.missed_errors IS 'Of tcp_errors: words lost where fewer speakers are found than speak';
COMMENT ON COLUMN diarization_counts.false_alarm_errors IS 'Of tcp_errors: words inserted where more speakers are found than speak';
COMMENT ON COLUMN diarization_counts.recognition_errors IS 'Of tcp_errors: all others';
COMMENT ON COLUMN diarization_counts.oracle_errors IS 'Track 1 errors of the transcribing system on the reference''s utterances';
COMMENT ON COLUMN diarization_counts.oracle_length IS 'Their reference tokens';
COMMENT ON COLUMN diarization_counts.orc_exact IS 'Whether orc_errors is the minimum; if not, it may be too high';

CREATE TABLE diarized_segments (
    system VARCHAR NOT NULL REFERENCES diarizers (diarizer), split VARCHAR NOT NULL, utterance_id VARCHAR NOT NULL,
    recording VARCHAR NOT NULL, grp VARCHAR NOT NULL, speaker VARCHAR NOT NULL, "start" DOUBLE NOT NULL, "end" DOUBLE NOT NULL,
    raw_text VARCHAR, language VARCHAR, transcript VARCHAR, tokens INTEGER, stop_reason VARCHAR,
    seconds DOUBLE, "loop" BOOLEAN
);
COMMENT ON TABLE diarized_segments IS 'Segments that each diarizer found, with their transcripts, one row per segment';
COMMENT ON COLUMN diarized_segments.system IS 'Diarizer';
COMMENT ON COLUMN diarized_segments.split IS 'Split of the recording';
COMMENT ON COLUMN diarized_segments.utterance_id IS 'Id in the challenge''s format, with the speaker and times found';
COMMENT ON COLUMN diarized_segments.recording IS 'Session';
COMMENT ON COLUMN diarized_segments.grp IS 'Its language or accent';
COMMENT ON COLUMN diarized_segments.speaker IS 'Speaker found';
COMMENT ON COLUMN diarized_segments."start" IS 'Start in the session''s audio, seconds';
COMMENT ON COLUMN diarized_segments."end" IS 'End in the session''s audio, seconds';
COMMENT ON COLUMN diarized_segments.raw_text IS 'Everything generated, special tokens included';
COMMENT ON COLUMN diarized_segments.language IS 'Language token of the answer; NULL where it has none';
COMMENT ON COLUMN diarized_segments.transcript IS 'Transcript parsed from the answer; NULL where there is none';
COMMENT ON COLUMN diarized_segments.tokens IS 'Tokens generated; NULL for external systems, as are the columns after it';
COMMENT ON COLUMN diarized_segments.stop_reason IS 'As in hypotheses';
COMMENT ON COLUMN diarized_segments.seconds IS 'The segment''s share of its batch''s wall time';
COMMENT ON COLUMN diarized_segments."loop" IS 'As in hypotheses';

CREATE TABLE stretch_answers (
    system VARCHAR NOT NULL REFERENCES diarizers (diarizer), split VARCHAR NOT NULL, utterance_id VARCHAR NOT NULL,
    recording VARCHAR NOT NULL, grp VARCHAR NOT NULL, "start" DOUBLE NOT NULL, "end" DOUBLE NOT NULL,
    raw_text VARCHAR NOT NULL, tokens INTEGER NOT NULL,
    stop_reason VARCHAR NOT NULL CHECK (stop_reason IN ('end', 'length', 'malformed')),
    seconds DOUBLE NOT NULL, "loop" BOOLEAN
);
COMMENT ON TABLE stretch_answers IS 'Answers of diarizers that answer stretches of a session with speakers and times (stretch_s), one row per stretch; diarized_segments has what was read from them';
COMMENT ON COLUMN stretch_answers.system IS 'Diarizer';
COMMENT ON COLUMN stretch_answers.split IS 'Split of the recording';
COMMENT ON COLUMN stretch_answers.utterance_id IS 'Id of the stretch';
COMMENT ON COLUMN stretch_answers.recording IS 'Session';
COMMENT ON COLUMN stretch_answers.grp IS 'Its language or accent';
COMMENT ON COLUMN stretch_answers."start" IS 'Start in the session''s audio, seconds';
COMMENT ON COLUMN stretch_answers."end" IS 'End in the session''s audio, seconds';
COMMENT ON COLUMN stretch_answers.raw_text IS 'Everything generated, special tokens included';
COMMENT ON COLUMN stretch_answers.tokens IS 'Tokens generated';
COMMENT ON COLUMN stretch_answers.stop_reason IS 'As in hypotheses; malformed: also speakers or times that are missing or impossible';
COMMENT ON COLUMN stretch_answers.seconds IS 'The stretch''s share of its batch''s wall time';
COMMENT ON COLUMN stretch_answers."loop" IS 'As in hypotheses';

CREATE TABLE token_pairs (
    system VARCHAR NOT NULL, split VARCHAR NOT NULL, grp VARCHAR NOT NULL REFERENCES groups (grp),
    reference VARCHAR, hypothesis VARCHAR, count INTEGER NOT NULL CHECK (count > 0)
);
COMMENT ON TABLE token_pairs IS 'Aligned tokens of each system under the config''s protocol, right and wrong, and how often each pair occurs; views words and confusions add them up';
COMMENT ON COLUMN token_pairs.system IS 'System';
COMMENT ON COLUMN token_pairs.split IS 'Split of the utterances';
COMMENT ON COLUMN token_pairs.grp IS 'Language or accent of the utterances';
COMMENT ON COLUMN token_pairs.reference IS 'Token of the reference, normalised; NULL: inserted by the system';
COMMENT ON COLUMN token_pairs.hypothesis IS 'Token of the answer in its place; NULL: missing';
COMMENT ON COLUMN token_pairs.count IS 'Occurrences';

CREATE TABLE paper_tables (table_name VARCHAR PRIMARY KEY, title VARCHAR NOT NULL, value_columns VARCHAR[] NOT NULL);
COMMENT ON TABLE paper_tables IS 'The paper''s seven tables (config/tables.yaml), and Table 8 if the config has recipes';
COMMENT ON COLUMN paper_tables.table_name IS 'table1 to table8';
COMMENT ON COLUMN paper_tables.title IS 'Heading';
COMMENT ON COLUMN paper_tables.value_columns IS 'Columns with a measured number and the paper''s';

CREATE TABLE table_rows (
    table_name VARCHAR NOT NULL REFERENCES paper_tables (table_name), position INTEGER NOT NULL,
    labels MAP(VARCHAR, VARCHAR) NOT NULL, system VARCHAR, diarizer VARCHAR, measured BOOLEAN NOT NULL, note VARCHAR,
    PRIMARY KEY (table_name, position)
);
COMMENT ON TABLE table_rows IS 'Rows of the paper''s tables and the system that measures each';
COMMENT ON COLUMN table_rows.table_name IS 'Table';
COMMENT ON COLUMN table_rows.position IS 'Position in the paper''s table, from 1';
COMMENT ON COLUMN table_rows.labels IS 'Text of each label column, e.g. labels[''checkpoint'']';
COMMENT ON COLUMN table_rows.system IS 'System that measures the row (Track 1)';
COMMENT ON COLUMN table_rows.diarizer IS 'Diarizer that measures the row (Track 2)';
COMMENT ON COLUMN table_rows.measured IS 'Whether the config has the row''s checkpoint and decoding, or its diarizer; if not, the table leaves the row out';
COMMENT ON COLUMN table_rows.note IS 'What readers should know about the row';

CREATE TABLE published (
    table_name VARCHAR NOT NULL, position INTEGER NOT NULL, column_name VARCHAR NOT NULL, value DOUBLE NOT NULL,
    PRIMARY KEY (table_name, position, column_name), FOREIGN KEY (table_name, position) REFERENCES table_rows (table_name, position)
);
COMMENT ON TABLE published IS 'The paper''s printed numbers; none was measured by this workflow';
COMMENT ON COLUMN published.table_name IS 'Table';
COMMENT ON COLUMN published.position IS 'Row of the table, from 1';
COMMENT ON COLUMN published.column_name IS 'Value column, e.g. dev';
COMMENT ON COLUMN published.value IS 'Percent, except training_loss';
