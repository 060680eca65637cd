-- Views of results.duckdb. Rates are percent, pooled (micro): sum of errors over sum of reference tokens.

CREATE MACRO error_rate(errors, length) AS 100.0 * sum(errors) / nullif(sum(length), 0);
CREATE MACRO two_decimals(x) AS CAST(x AS DECIMAL(18, 2));

CREATE VIEW primary_counts AS
SELECT system, split, utterance_id, session_id, grp, length, errors, insertions, deletions, substitutions
FROM asr_counts
WHERE protocol = (SELECT value FROM settings WHERE key = 'protocol');
COMMENT ON VIEW primary_counts IS 'asr_counts under the config''s protocol (scoring.protocol), which all other views use';

CREATE VIEW wer_by_group AS
SELECT
    system, split, grp,
    CAST(sum(errors) AS BIGINT) AS errors, CAST(sum(length) AS BIGINT) AS length, error_rate(errors, length) AS wer
FROM primary_counts
GROUP BY system, split, grp
ORDER BY system, split, grp;
COMMENT ON VIEW wer_by_group IS 'WER/CER of each system by language or accent; wer in percent';

CREATE VIEW wer_by_session AS
SELECT
    system, split, grp, session_id, count(*) AS utterances,
    CAST(sum(errors) AS BIGINT) AS errors, CAST(sum(length) AS BIGINT) AS length, error_rate(errors, length) AS wer
FROM primary_counts
GROUP BY system, split, grp, session_id
ORDER BY system, split, grp, session_id;
COMMENT ON VIEW wer_by_session IS 'WER/CER of each system by session; wer in percent';

CREATE VIEW wer_by_system AS
SELECT
    c.system, c.split, count(*) AS utterances, count(DISTINCT c.session_id) AS sessions,
    CAST(sum(c.errors) AS BIGINT) AS errors, CAST(sum(c.length) AS BIGINT) AS length,
    CAST(sum(c.insertions) AS BIGINT) AS insertions, CAST(sum(c.deletions) AS BIGINT) AS deletions,
    CAST(sum(c.substitutions) AS BIGINT) AS substitutions,
    error_rate(c.errors, c.length) AS wer, any_value(i.low) AS low, any_value(i.high) AS high
FROM primary_counts AS c
LEFT JOIN intervals AS i
    ON i.system = c.system AND i.split = c.split AND i.protocol = (SELECT value FROM settings WHERE key = 'protocol')
GROUP BY c.system, c.split
ORDER BY c.system, c.split;
COMMENT ON VIEW wer_by_system IS 'WER/CER of each system pooled over all groups, with its 95 % interval; wer, low and high in percent';

CREATE VIEW worst_utterances AS
SELECT
    c.system, c.split, c.utterance_id, c.grp, c.errors, c.length, c.insertions, c.deletions, c.substitutions,
    u.text AS reference, h.transcript AS hypothesis, h.stop_reason
FROM primary_counts AS c
JOIN utterances AS u ON u.split = c.split AND u.utterance_id = c.utterance_id
LEFT JOIN hypotheses AS h ON h.system = c.system AND h.split = c.split AND h.utterance_id = c.utterance_id
WHERE c.errors > 0
ORDER BY c.errors DESC, c.length, c.utterance_id, c.system;
COMMENT ON VIEW worst_utterances IS 'Utterances with errors, most errors first, with raw reference and hypothesis (NULL: none was made)';

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
    -- One that was to reflect and lost it altogether is not to vanish from here.
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
COMMENT ON VIEW self_correction IS 'Systems that reflect: what became of right and wrong hypotheses inside <think>, and whether the kinds of their errors were named; precision and recall in percent (docs/reasoning.md)';

CREATE VIEW collapses AS
SELECT checkpoint, min(step) AS from_step, count(*) AS steps, max(step) AS to_step
FROM reinforcement_log
WHERE name = 'collapsed' AND value > 0
GROUP BY checkpoint
ORDER BY checkpoint;
COMMENT ON VIEW collapses IS 'Reinforcement stages whose answers lost their form (stages.*.collapse): first and last such step, and how many there were';

CREATE VIEW final_losses AS
SELECT checkpoint, count(*) AS steps, avg(loss) AS training_loss
FROM (SELECT *, max(step) OVER (PARTITION BY checkpoint) AS last FROM training_log)
WHERE step > last - ceil(last / 10.0)
GROUP BY checkpoint
ORDER BY checkpoint;
COMMENT ON VIEW final_losses IS 'Mean training loss of each stage''s last tenth of steps (rounded up), as it was optimised: weighted where the stage weights it';

CREATE VIEW table1 AS
SELECT
    r.labels['stage'] AS stage,
    CAST(l.training_loss AS DECIMAL(18, 3)) AS training_loss, two_decimals(loss_published.value) AS training_loss_published,
    two_decimals(dev.wer) AS dev, two_decimals(dev.low) AS dev_low, two_decimals(dev.high) AS dev_high,
    two_decimals(dev_published.value) AS dev_published
FROM table_rows AS r
LEFT JOIN systems AS s ON s.system = r.system
LEFT JOIN final_losses AS l ON l.checkpoint = s.checkpoint
LEFT JOIN wer_by_system AS dev ON dev.system = r.system AND dev.split = 'dev'
LEFT JOIN published AS loss_published
    ON loss_published.table_name = r.table_name AND loss_published.position = r.position AND loss_published.column_name = 'training_loss'
LEFT JOIN published AS dev_published
    ON dev_published.table_name = r.table_name AND dev_published.position = r.position AND dev_published.column_name = 'dev'
WHERE r.table_name = 'table1' AND r.measured
ORDER BY r.position;
COMMENT ON VIEW table1 IS 'Table 1 of the paper, measured: training loss (final_losses) and pooled WER/CER on dev in percent with its 95 % interval, and the published numbers beside';

CREATE VIEW table2 AS
SELECT
    r.labels['reward_set'] AS reward_set,
    two_decimals(dev.wer) AS dev, two_decimals(dev.low) AS dev_low, two_decimals(dev.high) AS dev_high,
    two_decimals(dev_published.value) AS dev_published,
    coalesce(nullif(concat_ws(
        '; ', 'collapsed in ' || c.steps || ' steps, first in step ' || c.from_step, r.note
    ), ''), '-') AS note
FROM table_rows AS r
LEFT JOIN systems AS s ON s.system = r.system
LEFT JOIN collapses AS c ON c.checkpoint = s.checkpoint
LEFT JOIN wer_by_system AS dev ON dev.system = r.system AND dev.split = 'dev'
LEFT JOIN published AS dev_published
    ON dev_published.table_name = r.table_name AND dev_published.position = r.position AND dev_published.column_name = 'dev'
WHERE r.table_name = 'table2' AND r.measured
ORDER BY r.position;
COMMENT ON VIEW table2 IS 'Table 2 of the paper, measured: reward sets with their pooled WER/CER on dev in percent, its 95 % interval and the published number; note says where the paper''s symbols were reconstructed, and where answers collapsed';

CREATE VIEW table6 AS
SELECT
    r.labels['checkpoint'] AS checkpoint, r.labels['method'] AS method,
    two_decimals(dev.wer) AS dev, two_decimals(dev.low) AS dev_low, two_decimals(dev.high) AS dev_high,
    two_decimals(dev_published.value) AS dev_published,
    two_decimals(test.wer) AS test, two_decimals(test.low) AS test_low, two_decimals(test.high) AS test_high,
    two_decimals(test_published.value) AS test_published
FROM table_rows AS r
LEFT JOIN wer_by_system AS dev ON dev.system = r.system AND dev.split = 'dev'
LEFT JOIN wer_by_system AS test ON test.system = r.system AND test.split = 'test'
LEFT JOIN published AS dev_published
    ON dev_published.table_name = r.table_name AND dev_published.position = r.position AND dev_published.column_name = 'dev'
LEFT JOIN published AS test_published
    ON test_published.table_name = r.table_name AND test_published.position = r.position AND test_published.column_name = 'test'
WHERE r.table_name = 'table6' AND r.measured
ORDER BY r.position;
COMMENT ON VIEW table6 IS 'Table 6 of the paper, measured: pooled WER/CER in percent with 95 % intervals, and the published numbers beside';
