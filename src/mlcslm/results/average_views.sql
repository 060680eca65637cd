-- Two averages over groups: over all tokens, and over the groups' rates.

CREATE VIEW averages AS
WITH by_group AS (
    SELECT measure, system, split, grp, sum(errors) AS errors, sum(length) AS length
    FROM session_errors
    WHERE protocol = (SELECT value FROM settings WHERE key = 'protocol')
    GROUP BY measure, system, split, grp
)
SELECT
    b.measure, b.system, b.split, count(*) FILTER (length > 0) AS groups, error_rate(b.errors, b.length) AS pooled,
    any_value(i.low) AS low, any_value(i.high) AS high,
    avg(100.0 * b.errors / nullif(b.length, 0)) AS mean_of_groups
FROM by_group AS b
LEFT JOIN intervals AS i
    ON i.measure = b.measure AND i.system = b.system AND i.split = b.split
    AND i.protocol = (SELECT value FROM settings WHERE key = 'protocol')
GROUP BY b.measure, b.system, b.split
ORDER BY b.measure, b.system, b.split;
COMMENT ON VIEW averages IS 'Each system''s rate in percent, averaged in two ways: pooled over all tokens (the headline of the 2025 challenge) with its 95 % interval, and the mean of its groups'' rates (the tcpMER headline of the 2026 challenge, for measure tcpwer), leaving out groups without reference tokens (docs/challenge2026.md)';
