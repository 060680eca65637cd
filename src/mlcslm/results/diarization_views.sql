-- Views of Track 2. Rates are percent, pooled: DER in seconds over seconds, the others in errors over reference tokens.

CREATE VIEW primary_diarization AS
SELECT * EXCLUDE (protocol)
FROM diarization_counts
WHERE protocol = (SELECT value FROM settings WHERE key = 'protocol');
COMMENT ON VIEW primary_diarization IS 'diarization_counts under the config''s protocol (scoring.protocol); all other views use it';

CREATE VIEW diarization_by_group AS
SELECT
    system, split, grp, count(*) AS recordings, sum(scored_speech) AS scored_speech,
    error_rate(missed + false_alarm + confusion, scored_speech) AS der,
    error_rate(missed, scored_speech) AS missed, error_rate(false_alarm, scored_speech) AS false_alarm,
    error_rate(confusion, scored_speech) AS confusion,
    CAST(sum(tcp_errors) AS BIGINT) AS tcp_errors, CAST(sum(tcp_length) AS BIGINT) AS tcp_length,
    error_rate(tcp_errors, tcp_length) AS tcpwer, error_rate(cp_errors, cp_length) AS cpwer,
    error_rate(orc_errors, orc_length) AS tcorcwer
FROM primary_diarization
GROUP BY system, split, grp
ORDER BY system, split, grp;
COMMENT ON VIEW diarization_by_group IS 'Each diarizer by language or accent: DER and its three parts, tcpWER/tcpCER, cpWER and tcORC-WER in percent; scored_speech in seconds';

CREATE VIEW diarization_by_system AS
SELECT
    d.system, d.split, count(*) AS recordings, sum(scored_speech) AS scored_speech,
    error_rate(missed + false_alarm + confusion, scored_speech) AS der,
    any_value(e.low) AS der_low, any_value(e.high) AS der_high,
    error_rate(missed, scored_speech) AS missed, error_rate(false_alarm, scored_speech) AS false_alarm,
    error_rate(confusion, scored_speech) AS confusion,
    CAST(sum(tcp_errors) AS BIGINT) AS tcp_errors, CAST(sum(tcp_length) AS BIGINT) AS tcp_length,
    error_rate(tcp_errors, tcp_length) AS tcpwer, any_value(t.low) AS low, any_value(t.high) AS high,
    error_rate(cp_errors, cp_length) AS cpwer, error_rate(orc_errors, orc_length) AS tcorcwer,
    count(*) FILTER (speakers_found = speakers_reference) AS speakers_right,
    count(*) FILTER (NOT orc_exact) AS inexact_recordings
FROM primary_diarization AS d
LEFT JOIN intervals AS e
    ON e.measure = 'der' AND e.system = d.system AND e.split = d.split AND e.protocol = (SELECT value FROM settings WHERE key = 'protocol')
LEFT JOIN intervals AS t
    ON t.measure = 'tcpwer' AND t.system = d.system AND t.split = d.split AND t.protocol = (SELECT value FROM settings WHERE key = 'protocol')
GROUP BY d.system, d.split
ORDER BY d.system, d.split;
COMMENT ON VIEW diarization_by_system IS 'Each diarizer pooled over all groups: DER with its 95 % interval and three parts, tcpWER/tcpCER with its interval (low, high), cpWER and tcORC-WER in percent; scored_speech in seconds; speakers_right: recordings with the right number of speakers; inexact_recordings: recordings whose tcORC-WER may be too high';

CREATE VIEW stretch_answers_by_system AS
SELECT
    system, split, count(*) AS answers, count(*) FILTER (stop_reason = 'malformed') AS malformed,
    count(*) FILTER (stop_reason = 'length') AS truncated, count(*) FILTER ("loop") AS loops, avg(tokens) AS mean_tokens
FROM stretch_answers
GROUP BY system, split
ORDER BY system, split;
COMMENT ON VIEW stretch_answers_by_system IS 'Answers of each diarizer that answers with speakers and times: how many, how many malformed, truncated at the length limit or looping, and mean tokens';

CREATE VIEW tcpwer_breakdown AS
SELECT
    system, split, coalesce(grp, 'all') AS grp, CAST(sum(tcp_length) AS BIGINT) AS length, error_rate(tcp_errors, tcp_length) AS tcpwer,
    error_rate(recognition_errors, tcp_length) AS recognition, error_rate(missed_errors, tcp_length) AS missed,
    error_rate(false_alarm_errors, tcp_length) AS false_alarm, error_rate(confusion_errors, tcp_length) AS confusion,
    error_rate(timing_errors, tcp_length) AS timing, error_rate(oracle_errors, oracle_length) AS oracle_wer,
    error_rate(tcp_errors - oracle_errors, tcp_length) AS cost_of_diarization
FROM primary_diarization
GROUP BY GROUPING SETS ((system, split), (system, split, grp))
ORDER BY system, split, grp NULLS FIRST;
COMMENT ON VIEW tcpwer_breakdown IS 'Breakdown of tcpWER/tcpCER in points, pooled (grp: all) and by language or accent: recognition + missed + false_alarm + confusion + timing = tcpwer; oracle_wer (Track 1 WER/CER of the same system on the reference''s utterances) + cost_of_diarization = tcpwer as well (docs/scoring.md)';

CREATE VIEW diarization_ablation AS
SELECT
    b.diarizer, a.diarizer AS variant,
    concat_ws('; ',
        CASE WHEN a.keep_vad_boundaries <> b.keep_vad_boundaries THEN 'keep_vad_boundaries: ' || a.keep_vad_boundaries END,
        CASE WHEN a.resegment <> b.resegment THEN 'resegment: ' || a.resegment END,
        CASE WHEN a.num_speakers IS DISTINCT FROM b.num_speakers THEN 'num_speakers: ' || a.num_speakers END
    ) AS change,
    w.split, w.der, v.der AS variant_der, v.der - w.der AS der_change, w.tcpwer, v.tcpwer AS variant_tcpwer,
    v.tcpwer - w.tcpwer AS tcpwer_change, c.low, c.high, c.p_value
FROM diarizers AS b
JOIN diarizers AS a
    ON a.diarizer <> b.diarizer AND a.vad = b.vad AND a.max_segment_s = b.max_segment_s AND a.embedding = b.embedding
    AND a.system = b.system AND (
        a.keep_vad_boundaries <> b.keep_vad_boundaries OR a.resegment <> b.resegment OR a.num_speakers IS DISTINCT FROM b.num_speakers
    )
JOIN diarization_by_system AS w ON w.system = b.diarizer
JOIN diarization_by_system AS v ON v.system = a.diarizer AND v.split = w.split
LEFT JOIN (
    SELECT measure, grp, split, system_a, system_b, low, high, p_value FROM comparisons
    UNION ALL
    SELECT measure, grp, split, system_b, system_a, -high, -low, p_value FROM comparisons
) AS c
    ON c.measure = 'tcpwer' AND c.grp = 'all' AND c.split = w.split AND c.system_a = b.diarizer AND c.system_b = a.diarizer
WHERE b.keep_vad_boundaries AND b.resegment AND b.num_speakers IS NULL
ORDER BY b.diarizer, w.split, a.diarizer;
COMMENT ON VIEW diarization_ablation IS 'Diarizers that estimate the number of speakers, keep the detector''s boundaries and resegment, against the same one without: DER and tcpWER/tcpCER in percent, changes in points (negative: the variant is better), low, high and p_value of tcpwer_change (comparisons)';
