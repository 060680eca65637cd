-- The paper's tables as views. `cells` brings measured and published numbers together once; each table lays them out.

CREATE VIEW cells AS
WITH measured AS (
    SELECT system, NULL AS diarizer, split AS column_name, wer AS value, low, high FROM wer_by_system
    UNION ALL
    SELECT s.system, NULL, 'training_loss', l.training_loss, NULL, NULL
    FROM systems AS s JOIN final_losses AS l ON l.checkpoint = s.checkpoint
    UNION ALL
    SELECT NULL, system, split, tcpwer, low, high FROM diarization_by_system
    UNION ALL
    SELECT NULL, system, 'tcpwer', tcpwer, low, high FROM diarization_by_system WHERE split = 'dev'
    UNION ALL
    SELECT NULL, system, 'der', der, der_low, der_high FROM diarization_by_system WHERE split = 'dev'
)
SELECT
    r.table_name, r.position, r.labels, r.system, r.diarizer, r.measured, r.note, c.column_name,
    CASE WHEN c.column_name = 'training_loss' THEN NULL WHEN c.column_name = 'test' THEN 'test' ELSE 'dev' END AS split,
    m.value, m.low, m.high, p.value AS published
FROM table_rows AS r
JOIN (SELECT table_name, unnest(value_columns) AS column_name FROM paper_tables) AS c ON c.table_name = r.table_name
LEFT JOIN measured AS m
    ON m.column_name = c.column_name AND m.system IS NOT DISTINCT FROM r.system AND m.diarizer IS NOT DISTINCT FROM r.diarizer
LEFT JOIN published AS p
    ON p.table_name = r.table_name AND p.position = r.position AND p.column_name = c.column_name
ORDER BY r.table_name, r.position, c.column_name;
COMMENT ON VIEW cells IS 'Every number of the paper''s tables: measured here (value; for rates low and high, its 95 % interval) and printed in the paper, including rows that the config does not measure; percent, except training_loss';

CREATE VIEW rendered_rows AS
SELECT
    table_name, position, labels, system, diarizer, note,
    map_from_entries(list(row(column_name, struct_pack(value := value, low := low, high := high, published := published)))) AS cells
FROM cells
WHERE measured
GROUP BY table_name, position, labels, system, diarizer, note
ORDER BY table_name, position;
COMMENT ON VIEW rendered_rows IS 'Rows that the tables show, with cells by column, e.g. cells[''dev''].low';

CREATE MACRO decimals(x) AS CAST(x AS DECIMAL(18, 2));

CREATE VIEW table1 AS
SELECT
    labels['stage'] AS stage,
    CAST(cells['training_loss'].value AS DECIMAL(18, 3)) AS training_loss,
    decimals(cells['training_loss'].published) AS training_loss_published,
    decimals(cells['dev'].value) AS dev, decimals(cells['dev'].low) AS dev_low, decimals(cells['dev'].high) AS dev_high,
    decimals(cells['dev'].published) AS dev_published
FROM rendered_rows
WHERE table_name = 'table1'
ORDER BY position;
COMMENT ON VIEW table1 IS 'Table 1 of the paper, measured: training loss (final_losses) and pooled WER/CER on dev in percent with its 95 % interval, with the published numbers';

CREATE VIEW table2 AS
SELECT
    labels['reward_set'] AS reward_set,
    decimals(cells['dev'].value) AS dev, decimals(cells['dev'].low) AS dev_low, decimals(cells['dev'].high) AS dev_high,
    decimals(cells['dev'].published) AS dev_published,
    coalesce(nullif(concat_ws(
        '; ', 'collapsed in ' || l.steps || ' steps, first in step ' || l.from_step, r.note
    ), ''), '-') AS note
FROM rendered_rows AS r
LEFT JOIN systems AS s ON s.system = r.system
LEFT JOIN collapses AS l ON l.checkpoint = s.checkpoint
WHERE table_name = 'table2'
ORDER BY position;
COMMENT ON VIEW table2 IS 'Table 2 of the paper, measured: reward sets with their pooled WER/CER on dev in percent, its 95 % interval and the published number; note: where the paper''s symbols were reconstructed, and where answers collapsed';

CREATE VIEW table3 AS
SELECT
    labels['stage'] AS stage,
    CAST(cells['training_loss'].value AS DECIMAL(18, 3)) AS training_loss,
    decimals(cells['training_loss'].published) AS training_loss_published,
    decimals(cells['dev'].value) AS dev, decimals(cells['dev'].low) AS dev_low, decimals(cells['dev'].high) AS dev_high,
    decimals(cells['dev'].published) AS dev_published,
    coalesce(note, '-') AS note
FROM rendered_rows
WHERE table_name = 'table3'
ORDER BY position;
COMMENT ON VIEW table3 IS 'Table 3 of the paper, measured, plus a row that the paper does not have: context from reference transcripts and from the model''s own hypotheses; training loss and pooled WER/CER on dev in percent with its 95 % interval, with the published numbers';

CREATE VIEW table4 AS
SELECT
    labels['method'] AS method, labels['beam_size'] AS beam_size, labels['max_new_tokens'] AS max_new_tokens,
    decimals(cells['dev'].value) AS dev, decimals(cells['dev'].low) AS dev_low, decimals(cells['dev'].high) AS dev_high,
    decimals(cells['dev'].published) AS dev_published,
    decimals(a.percent_cut) AS percent_cut, decimals(a.percent_looping) AS percent_looping,
    CAST(a.mean_tokens AS DECIMAL(18, 1)) AS mean_tokens,
    CAST(a.real_time_factor AS DECIMAL(18, 4)) AS real_time_factor
FROM rendered_rows AS r
LEFT JOIN answers_by_system AS a ON a.system = r.system AND a.split = 'dev'
WHERE table_name = 'table4'
ORDER BY position;
COMMENT ON VIEW table4 IS 'Table 4 of the paper, measured: decodings of the best checkpoint with their pooled WER/CER on dev in percent, its 95 % interval and the published number, and figures that explain it (answers_by_system)';

CREATE VIEW grid_by_group AS
SELECT
    w.grp, r.labels['method'] AS method, r.labels['beam_size'] AS beam_size, r.labels['max_new_tokens'] AS max_new_tokens,
    r.system, w.errors, w.length, w.wer, w.wer - min(w.wer) OVER (PARTITION BY w.grp) AS above_best,
    w.wer = min(w.wer) OVER (PARTITION BY w.grp) AS best,
    100.0 * a.cut / a.answers AS percent_cut, 100.0 * a.loops / a.answers AS percent_looping
FROM table_rows AS r
JOIN wer_by_group AS w ON w.system = r.system AND w.split = 'dev'
LEFT JOIN answers_by_group AS a ON a.system = w.system AND a.split = w.split AND a.grp = w.grp
WHERE r.table_name = 'table4' AND r.measured
ORDER BY w.grp, w.wer, r.position;
COMMENT ON VIEW grid_by_group IS 'Table 4 by language or accent on dev, best first; best: no other setting has fewer errors in the group (ties possible); above_best: points of WER/CER behind the best';

CREATE VIEW table5 AS
SELECT
    labels['embedding'] AS embedding, labels['max_segment_s'] AS max_segment_s,
    decimals(cells['der'].value) AS der, decimals(cells['der'].low) AS der_low, decimals(cells['der'].high) AS der_high,
    decimals(cells['der'].published) AS der_published,
    decimals(cells['tcpwer'].value) AS tcpwer, decimals(cells['tcpwer'].low) AS tcpwer_low, decimals(cells['tcpwer'].high) AS tcpwer_high,
    decimals(cells['tcpwer'].published) AS tcpwer_published
FROM rendered_rows
WHERE table_name = 'table5'
ORDER BY position;
COMMENT ON VIEW table5 IS 'Table 5 of the paper, measured: pooled DER and tcpWER/tcpCER on dev in percent with 95 % intervals, with the published numbers';

CREATE VIEW table6 AS
SELECT
    labels['checkpoint'] AS checkpoint, labels['method'] AS method,
    decimals(cells['dev'].value) AS dev, decimals(cells['dev'].low) AS dev_low, decimals(cells['dev'].high) AS dev_high,
    decimals(cells['dev'].published) AS dev_published,
    decimals(cells['test'].value) AS test, decimals(cells['test'].low) AS test_low, decimals(cells['test'].high) AS test_high,
    decimals(cells['test'].published) AS test_published
FROM rendered_rows
WHERE table_name = 'table6'
ORDER BY position;
COMMENT ON VIEW table6 IS 'Table 6 of the paper, measured: pooled WER/CER in percent with 95 % intervals, with the published numbers';

CREATE VIEW table7 AS
SELECT
    labels['system'] AS system, labels['max_segment_s'] AS max_segment_s,
    decimals(cells['dev'].value) AS dev, decimals(cells['dev'].low) AS dev_low, decimals(cells['dev'].high) AS dev_high,
    decimals(cells['dev'].published) AS dev_published,
    decimals(cells['test'].value) AS test, decimals(cells['test'].low) AS test_low, decimals(cells['test'].high) AS test_high,
    decimals(cells['test'].published) AS test_published
FROM rendered_rows
WHERE table_name = 'table7'
ORDER BY position;
COMMENT ON VIEW table7 IS 'Table 7 of the paper, measured: pooled tcpWER/tcpCER in percent with 95 % intervals, with the published numbers';

CREATE VIEW paired_differences AS
SELECT measure, split, grp, system_b AS system, system_a AS control, difference, low, high, p_value FROM comparisons
UNION ALL
SELECT measure, split, grp, system_a, system_b, -difference, -high, -low, p_value FROM comparisons
ORDER BY ALL;
COMMENT ON VIEW paired_differences IS 'comparisons in both directions: points by which system is above control (negative: better), with the paired 95 % interval';

CREATE VIEW table8 AS
SELECT
    labels['recipe'] AS recipe,
    decimals(cells['dev'].value) AS dev, decimals(cells['dev'].low) AS dev_low, decimals(cells['dev'].high) AS dev_high,
    decimals(cells['test'].value) AS test, decimals(cells['test'].low) AS test_low, decimals(cells['test'].high) AS test_high,
    coalesce(p.control, '-') AS control,
    decimals(d.difference) AS dev_difference, decimals(d.low) AS dev_difference_low, decimals(d.high) AS dev_difference_high,
    decimals(t.difference) AS test_difference, decimals(t.low) AS test_difference_low, decimals(t.high) AS test_difference_high,
    decimals(c.tokens / 1e6) AS training_mtokens, decimals((c.flop + CASE WHEN p.ctc THEN coalesce(s.ctc_flop, 0) ELSE 0 END) / 1e12) AS training_tflop,
    CAST(c.seconds / 60 AS DECIMAL(18, 1)) AS training_minutes,
    decimals(60 * a.real_time_factor) AS seconds_per_minute,
    coalesce(r.note, '-') AS note
FROM rendered_rows AS r
JOIN recipes AS p ON p.recipe = r.labels['recipe']
LEFT JOIN recipes AS o ON o.recipe = p.control
LEFT JOIN paired_differences AS d
    ON d.measure = 'wer' AND d.split = 'dev' AND d.grp = 'all' AND d.system = p.system AND d.control = o.system
LEFT JOIN paired_differences AS t
    ON t.measure = 'wer' AND t.split = 'test' AND t.grp = 'all' AND t.system = p.system AND t.control = o.system
LEFT JOIN training_costs AS c ON c.checkpoint = p.checkpoint
LEFT JOIN stage_costs AS s ON s.checkpoint = p.checkpoint
LEFT JOIN answers_by_system AS a ON a.system = p.system AND a.split = 'dev'
WHERE table_name = 'table8'
ORDER BY position;
COMMENT ON VIEW table8 IS 'Table 8, ours: recipes with their pooled WER/CER in percent and its 95 % interval, the paired difference to their control in points (negative: better), and what they cost (training_costs; operations with those of the CTC head that judges its candidates, if any; seconds of computation per minute of speech on dev)';
