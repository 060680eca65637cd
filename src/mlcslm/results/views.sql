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
