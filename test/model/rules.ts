/**
 * The rules of the revocation protocol, each with what happens to the model when it is taken out. A model with all of
 * them keeps the promise; a model without any one of them must not, or the rule would be superfluous.
 */
export const RULES = {
  leaseFromSending: 'the lease runs from the moment the renewal was sent, not from the moment its answer came',
  leaseAfterApply: 'the lease counts only once everything up to the returned position is applied',
  leaseCheckedAtUse: 'lease and cached entry are looked at in one step, with no wait between them',
  leaseComparedWithClock: 'the end of the lease is compared with the clock at each use, not noticed by a timer',
  applyPoisonsLookUps: 'applying an entry also poisons the look-ups of that token that are under way',
  readAloneWithoutLease: 'a request without a lease reads the store itself; it joins no look-up that began before it',
  reportAfterApply: 'a replica reports a position only after it has applied it',
  reportWhatIsThere: 'a reported position that is not in the log acknowledges nothing',
  hintsComparedWithLog:
    'an entry that a replica applied on a hint is reported only where the log holds the same one next',
  waitForUnacknowledged: 'a revoke waits for the replicas that have not acknowledged',
  waitAWholeLease: 'that wait lasts a whole lease',
  waitHasAnEnd: 'that wait lasts no longer than a lease',
  waitAfterNewServer: 'a revoke waits a whole lease when the server that keeps the registry is younger than that',
  announceAgain: 'a revoke returns only while its entry is in the log; a lost entry is appended and waited for again',
  recordBeforeLog: 'the record is written before the log entry is appended',
  flushWhenReplaced: 'a replica drops everything when the log does not hold its position: another history',
  flushWhenTrimmed: 'a replica drops everything when the log does not reach back to its position: trimmed',
  flushAfterLapse: 'a replica that was without a lease drops everything when it gets one',
  forgetComparesCounter: 'a dead replica is forgotten only if it has not renewed since it was looked at',
  streamListedWithDecision: 'a stream is listed as open in the step that lets it in',
} as const;

export type Rule = keyof typeof RULES;
export type RuleSet = Readonly<Record<Rule, boolean>>;

export const RULE_NAMES = Object.keys(RULES) as readonly Rule[];

/** All rules, or all but one. */
export function rulesWithout(missing: Rule | null): RuleSet {
  return Object.fromEntries(RULE_NAMES.map((rule) => [rule, rule !== missing])) as Record<Rule, boolean>;
}
