-- Views of results.duckdb. Rates are percent, pooled (micro): sum of errors over sum of reference tokens.

CREATE MACRO error_rate(errors, length) AS 100.0 * sum(errors) / nullif(sum(length), 0);

CREATE VIEW primary_counts AS
SELECT system, split, utterance_id, session_id, grp, length, errors, insertions, deletions, substitutions
FROM asr_counts
WHERE protocol = (SELECT value FROM settings WHERE key = 'protocol');
COMMENT ON VIEW primary_counts IS 'asr_counts under the config''s protocol (scoring.protocol); all other views use it';

CREATE VIEW wer_by_group AS
SELECT
    system, split, grp,
    CAST(sum(errors) AS BIGINT) AS errors, CAST(sum(length) AS BIGINT) AS length, error_rate(errors, length) AS wer
FROM primary_counts
GROUP BY system, split, grp
ORDER BY system, split, grp;
COMMENT ON VIEW wer_by_group IS 'WER/CER of each system by language or accent, percent';

CREATE VIEW wer_by_session AS
SELECT
    system, split, grp, session_id, count(*) AS utterances,
    CAST(sum(errors) AS BIGINT) AS errors, CAST(sum(length) AS BIGINT) AS length, error_rate(errors, length) AS wer
FROM primary_counts
GROUP BY system, split, grp, session_id
ORDER BY system, split, grp, session_id;
COMMENT ON VIEW wer_by_session IS 'WER/CER of each system by session, percent';

CREATE VIEW wer_by_system AS
SELECT
    c.system, c.split, count(*) AS utterances, count(DISTINCT c.session_id) AS sessions,
    CAST(sum(c.errors) AS BIGINT) AS errors, CAST(sum(c.length) AS BIGINT) AS length,
    CAST(sum(c.insertions) AS BIGINT) AS insertions, CAST(sum(c.deletions) AS BIGINT) AS deletions,
    CAST(sum(c.substitutions) AS BIGINT) AS substitutions,
    error_rate(c.errors, c.length) AS wer, any_value(i.low) AS low, any_value(i.high) AS high
FROM primary_counts AS c
LEFT JOIN intervals AS i
    ON i.measure = 'wer' AND i.system = c.system AND i.split = c.split AND i.protocol = (SELECT value FROM settings WHERE key = 'protocol')
GROUP BY c.system, c.split
ORDER BY c.system, c.split;
COMMENT ON VIEW wer_by_system IS 'WER/CER of each system pooled over all groups, with its 95 % interval; wer, low and high in percent';

CREATE VIEW session_errors AS
SELECT
    'wer' AS measure, protocol, system, split, grp, session_id,
    CAST(sum(errors) AS DOUBLE) AS errors, CAST(sum(length) AS DOUBLE) AS length
FROM asr_counts
GROUP BY protocol, system, split, grp, session_id
UNION ALL
SELECT 'tcpwer', protocol, system, split, grp, recording, tcp_errors, tcp_length FROM diarization_counts WHERE tcp_errors IS NOT NULL
UNION ALL
SELECT 'der', protocol, system, split, grp, recording, missed + false_alarm + confusion, scored_speech FROM diarization_counts
ORDER BY ALL;
COMMENT ON VIEW session_errors IS 'What intervals and comparisons are computed from: each session''s errors and their denominator, in reference tokens, or for der in seconds';

CREATE VIEW worst_utterances AS
SELECT
    c.system, c.split, c.utterance_id, c.grp, c.errors, c.length, c.insertions, c.deletions, c.substitutions,
    u.text AS reference, h.transcript AS hypothesis, h.stop_reason
FROM primary_counts AS c
JOIN utterances AS u ON u.split = c.split AND u.utterance_id = c.utterance_id
LEFT JOIN hypotheses AS h ON h.system = c.system AND h.split = c.split AND h.utterance_id = c.utterance_id
WHERE c.errors > 0
ORDER BY c.errors DESC, c.length, c.utterance_id, c.system;
COMMENT ON VIEW worst_utterances IS 'Utterances with errors, most first, with raw reference and hypothesis (NULL: no answer)';

CREATE VIEW confusions AS
SELECT
    system, split, grp, reference, hypothesis, count,
    CASE WHEN reference IS NULL THEN 'insertion' WHEN hypothesis IS NULL THEN 'deletion' ELSE 'substitution' END AS kind
FROM token_pairs
WHERE reference IS DISTINCT FROM hypothesis
ORDER BY count DESC, system, split, grp, reference, hypothesis;
COMMENT ON VIEW confusions IS 'What each system heard instead of a reference word (or character), by language or accent, most frequent first; hypothesis NULL: nothing, reference NULL: where nothing was said';

CREATE VIEW words AS
SELECT
    system, split, grp, reference AS word, CAST(sum(count) AS BIGINT) AS occurrences,
    CAST(coalesce(sum(count) FILTER (hypothesis IS DISTINCT FROM reference), 0) AS BIGINT) AS wrong,
    CAST(coalesce(sum(count) FILTER (hypothesis IS NULL), 0) AS BIGINT) AS deleted,
    100.0 * coalesce(sum(count) FILTER (hypothesis IS DISTINCT FROM reference), 0) / sum(count) AS percent_wrong
FROM token_pairs
WHERE reference IS NOT NULL
GROUP BY system, split, grp, reference
ORDER BY wrong DESC, occurrences, system, split, grp, word;
COMMENT ON VIEW words IS 'How often each reference word (or character) occurs, and how often each system got it wrong (of these: missed it, deleted), by language or accent';

CREATE VIEW changed_utterances AS
SELECT
    a.system AS system_a, b.system AS system_b, a.split, a.utterance_id, a.grp, a.length, a.errors AS errors_a, b.errors AS errors_b,
    b.errors - a.errors AS change, u.text AS reference, x.transcript AS hypothesis_a, y.transcript AS hypothesis_b
FROM primary_counts AS a
JOIN primary_counts AS b ON b.split = a.split AND b.utterance_id = a.utterance_id AND b.errors <> a.errors
JOIN utterances AS u ON u.split = a.split AND u.utterance_id = a.utterance_id
LEFT JOIN hypotheses AS x ON x.system = a.system AND x.split = a.split AND x.utterance_id = a.utterance_id
LEFT JOIN hypotheses AS y ON y.system = b.system AND y.split = b.split AND y.utterance_id = b.utterance_id
ORDER BY abs(b.errors - a.errors) DESC, a.length, a.utterance_id, a.system, b.system;
COMMENT ON VIEW changed_utterances IS 'Utterances in which two systems made different numbers of errors, largest difference first; change: errors_b - errors_a. Every pair in both orders: filter on system_a and system_b';

CREATE VIEW answers_by_group AS
SELECT
    h.system, h.split, u.grp, count(*) AS answers, count(*) FILTER (h.stop_reason = 'length') AS cut,
    CAST(sum(CAST(h."loop" AS INTEGER)) AS BIGINT) AS loops, CAST(sum(h.tokens) AS BIGINT) AS tokens,
    sum(h.seconds) AS seconds, sum(u."end" - u."start") AS audio_seconds
FROM hypotheses AS h
JOIN utterances AS u ON u.split = h.split AND u.utterance_id = h.utterance_id
WHERE h.stop_reason IS NOT NULL
GROUP BY h.system, h.split, u.grp
ORDER BY h.system, h.split, u.grp;
COMMENT ON VIEW answers_by_group IS 'Answers of each system decoded here by language or accent: how many, how many truncated at the length limit (cut) or looping (NULL: not counted), tokens, seconds of computation and of speech; sums, so divide last';

CREATE VIEW answers_by_system AS
SELECT
    system, split, CAST(sum(answers) AS BIGINT) AS answers, 100.0 * sum(cut) / sum(answers) AS percent_cut,
    100.0 * sum(loops) / sum(answers) AS percent_looping, sum(tokens) / sum(answers) AS mean_tokens,
    sum(seconds) / nullif(sum(audio_seconds), 0) AS real_time_factor
FROM answers_by_group
GROUP BY system, split
ORDER BY system, split;
COMMENT ON VIEW answers_by_system IS 'Answers of each system: percent truncated at the length limit (percent_cut) or looping, mean tokens, and seconds of computation per second of speech';

CREATE VIEW self_correction AS
WITH answers AS (
    SELECT
        h.system, h.split, u.grp, r.* EXCLUDE (system, split, protocol),
        named_substitutions + named_insertions + named_deletions AS errors_named,
        true_substitutions + true_insertions + true_deletions AS errors_true,
        (named_substitutions > 0)::INT + (named_insertions > 0)::INT + (named_deletions > 0)::INT AS types_named,
        (true_substitutions > 0)::INT + (true_insertions > 0)::INT + (true_deletions > 0)::INT AS types_true,
        (named_substitutions > 0 AND true_substitutions > 0)::INT + (named_insertions > 0 AND true_insertions > 0)::INT
        + (named_deletions > 0 AND true_deletions > 0)::INT AS types_right
    FROM hypotheses AS h
    JOIN utterances AS u ON u.split = h.split AND u.utterance_id = h.utterance_id
    LEFT JOIN reflections AS r
        ON r.system = h.system AND r.split = h.split AND r.utterance_id = h.utterance_id
        AND r.protocol = (SELECT value FROM settings WHERE key = 'protocol')
    -- A system trained to reflect that no longer does must not disappear.
    WHERE h.system IN (
        SELECT system FROM hypotheses WHERE think IS NOT NULL
        UNION ALL
        SELECT system FROM systems JOIN reinforcement_log USING (checkpoint)
    )
)
SELECT
    system, split, grp,
    count(*) AS answers, count(*) FILTER (first_errors IS NULL) AS without_reflection,
    count(*) FILTER (first_errors > 0) AS wrong_first,
    count(*) FILTER (first_errors > 0 AND final_errors = 0) AS corrected,
    count(*) FILTER (first_errors > 0 AND final_errors BETWEEN 1 AND first_errors) AS left_wrong,
    count(*) FILTER (first_errors > 0 AND final_errors BETWEEN 1 AND first_errors - 1) AS left_better,
    count(*) FILTER (first_errors > 0 AND final_errors > first_errors) AS made_worse,
    count(*) FILTER (first_errors = 0) AS right_first,
    count(*) FILTER (first_errors = 0 AND final_errors > 0) AS broken,
    CAST(sum(first_errors) AS BIGINT) AS first_errors, CAST(sum(final_errors) AS BIGINT) AS final_errors,
    CAST(sum(length) AS BIGINT) AS length,
    CAST(sum(types_named) AS BIGINT) AS types_named, CAST(sum(types_true) AS BIGINT) AS types_true,
    CAST(sum(types_right) AS BIGINT) AS types_right,
    CAST(sum(errors_named) AS BIGINT) AS errors_named, CAST(sum(errors_true) AS BIGINT) AS errors_true,
    CAST(sum(named_right) AS BIGINT) AS errors_right,
    100.0 * sum(types_right) / nullif(sum(types_named), 0) AS type_precision,
    100.0 * sum(types_right) / nullif(sum(types_true), 0) AS type_recall
FROM answers
GROUP BY system, split, grp
ORDER BY system, split, grp;
COMMENT ON VIEW self_correction IS 'Reasoning systems: what became of right and wrong hypotheses inside <think>, and whether their kinds of error were named; precision and recall in percent (docs/reasoning.md)';

CREATE VIEW bounds_by_group AS
WITH choices AS (
    SELECT o.system, o.split, c.grp, 'candidates' AS choice, o.candidates AS among, o.errors AS oracle_errors, c.errors, c.length
    FROM oracles AS o
    JOIN primary_counts AS c ON c.system = o.system AND c.split = o.split AND c.utterance_id = o.utterance_id
    WHERE o.protocol = (SELECT value FROM settings WHERE key = 'protocol')
    UNION ALL
    SELECT c.system, c.split, c.grp, 'transcripts', 2, coalesce(least(r.first_errors, r.final_errors), c.errors), c.errors, c.length
    FROM primary_counts AS c
    LEFT JOIN reflections AS r
        ON r.system = c.system AND r.split = c.split AND r.utterance_id = c.utterance_id
        AND r.protocol = (SELECT value FROM settings WHERE key = 'protocol')
    WHERE (c.system, c.split) IN (SELECT (system, split) FROM reflections)
)
SELECT
    system, split, grp, choice, among,
    CAST(sum(oracle_errors) AS BIGINT) AS oracle_errors, CAST(sum(errors) AS BIGINT) AS errors, CAST(sum(length) AS BIGINT) AS length,
    error_rate(oracle_errors, length) AS oracle_wer, error_rate(errors, length) AS wer
FROM choices
GROUP BY system, split, grp, choice, among
ORDER BY system, split, grp, choice, among;
COMMENT ON VIEW bounds_by_group IS 'What choosing can give at most, by language or accent: WER/CER of the best of a consensus''s first candidates (choice candidates, of as many as among says), or of the better of an answer''s two transcripts (choice transcripts), beside the system''s own, percent';

CREATE VIEW bounds AS
SELECT
    system, split, choice, among,
    CAST(sum(oracle_errors) AS BIGINT) AS oracle_errors, CAST(sum(errors) AS BIGINT) AS errors, CAST(sum(length) AS BIGINT) AS length,
    error_rate(oracle_errors, length) AS oracle_wer, error_rate(errors, length) AS wer
FROM bounds_by_group
GROUP BY system, split, choice, among
ORDER BY system, split, choice, among;
COMMENT ON VIEW bounds IS 'bounds_by_group pooled over all groups';

CREATE VIEW training_costs AS
WITH RECURSIVE lineages AS (
    SELECT checkpoint, checkpoint AS stage, parent FROM stage_costs
    UNION ALL
    SELECT l.checkpoint, s.checkpoint, s.parent FROM lineages AS l JOIN stage_costs AS s ON s.checkpoint = l.parent
),
logged AS (
    SELECT checkpoint, sum(tokens_per_second * passed) AS tokens, max(seconds) AS seconds
    FROM (SELECT *, seconds - lag(seconds, 1, 0) OVER (PARTITION BY checkpoint ORDER BY step) AS passed FROM training_log)
    GROUP BY checkpoint
)
SELECT
    l.checkpoint, count(*) AS stages, CAST(sum(s.steps) AS BIGINT) AS steps, sum(s.flop) AS flop,
    CASE WHEN count(g.tokens) = count(*) THEN CAST(round(sum(g.tokens)) AS BIGINT) END AS tokens,
    CASE WHEN count(g.seconds) = count(*) THEN sum(g.seconds) END AS seconds
FROM lineages AS l
JOIN stage_costs AS s ON s.checkpoint = l.stage
LEFT JOIN logged AS g ON g.checkpoint = l.stage
GROUP BY l.checkpoint
ORDER BY l.checkpoint;
COMMENT ON VIEW training_costs IS 'What training a checkpoint took, all its stages from the foundation models on: operations by the plan, tokens read and written, and seconds, both from the logs (NULL if a log is missing)';

CREATE VIEW collapses AS
SELECT checkpoint, min(step) AS from_step, count(*) AS steps, max(step) AS to_step
FROM reinforcement_log
WHERE name = 'collapsed' AND value > 0
GROUP BY checkpoint
ORDER BY checkpoint;
COMMENT ON VIEW collapses IS 'Reinforcement stages whose answers became malformed (stages.*.collapse): first and last such step, and their number';

CREATE VIEW final_losses AS
SELECT checkpoint, count(*) AS steps, avg(loss) AS training_loss
FROM (SELECT *, max(step) OVER (PARTITION BY checkpoint) AS last FROM training_log)
WHERE step > last - ceil(last / 10.0)
GROUP BY checkpoint
ORDER BY checkpoint;
COMMENT ON VIEW final_losses IS 'Mean training loss over the last tenth of each stage''s steps (rounded up), as optimised: weighted where the stage weights its tokens';
