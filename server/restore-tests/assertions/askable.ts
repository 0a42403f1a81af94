/**
 * What an assertion may read and call: these columns and functions, and nothing else. A column is here only when every administrator sees its
 * values live anyway, or when it is a bare number or instant; never what is sealed, hashed, typed by a person, or says who did what to a file.
 */

export const ASKABLE_TABLES: Readonly<Record<string, readonly string[]>> = {
  access_reviews: ['id', 'number', 'state', 'cause', 'started_at', 'due_at', 'signed_at', 'withdrawn_at'],
  alerts: ['id', 'state', 'first_seen_at', 'raised_at', 'ended_at'],
  api_keys: ['id', 'created_at', 'expires_at', 'revoked_at'],
  appliance: ['id', 'created_at', 'claimed_at', 'stage'],
  audit_checkpoints: ['number', 'at', 'size'],
  audit_entries: ['number', 'at', 'action', 'actor_kind', 'object_type', 'result'],
  audit_leaves: ['position', 'entry_number'],
  file_versions: ['node_id', 'version', 'created_at', 'size_bytes', 'stored_bytes'],
  migrations: ['name', 'applied_at'],
  nodes: ['id', 'workspace_id', 'parent_id', 'kind', 'created_at', 'version', 'current_version'],
  restore_tests: [
    ...[
      'id',
      'run_id',
      'snapshot_id',
      'snapshot_taken_at',
      'target_id',
      'mode',
      'key_source',
      'state',
      'grade',
    ],
    ...['created_at', 'finished_at', 'rto_ms', 'rpo_ms'],
  ],
  runs: ['id', 'kind', 'state', 'cause', 'created_at', 'started_at', 'finished_at'],
  schedules: ['name', 'kind', 'cron', 'enabled', 'last_due_at', 'next_due_at'],
  snapshot_holds: ['snapshot_id', 'held_at'],
  snapshot_targets: ['snapshot_id', 'target_id', 'state', 'stored_at'],
  snapshots: [
    ...['id', 'number', 'state', 'taken_at', 'stored_at', 'size_bytes', 'stored_bytes', 'added_bytes'],
    ...['file_count', 'duration_ms', 'forgotten_at'],
  ],
  targets: ['id', 'kind', 'state', 'same_disk', 'created_at', 'last_ok_at'],
  team_members: ['team_id', 'user_id', 'added_at'],
  teams: ['id', 'created_at'],
  users: ['id', 'role', 'created_at', 'disabled_at'],
  workspace_members: ['workspace_id', 'user_id', 'role'],
  workspace_teams: ['workspace_id', 'team_id', 'role'],
  workspaces: ['id', 'kind', 'created_at'],
};

/** Operators, by name, between the types below. Not `||` and not the regular expressions: both can be made to take memory or time. */
export const ASKABLE_OPERATORS: readonly string[] = [
  ...['=', '<>', '<', '<=', '>', '>=', '+', '-', '*', '/', '%', '~~', '!~~', '~~*', '!~~*'],
];

/** Functions of PostgreSQL itself, for the types below. None reads anything but its arguments and the clock. */
export const ASKABLE_FUNCTIONS: readonly string[] = [
  ...['count', 'sum', 'avg', 'min', 'max', 'bool_and', 'bool_or', 'every', 'any_value'],
  ...['stddev', 'stddev_pop', 'stddev_samp', 'variance', 'var_pop', 'var_samp'],
  ...['percentile_cont', 'percentile_disc', 'mode'],
  ...['row_number', 'rank', 'dense_rank', 'percent_rank', 'cume_dist', 'ntile'],
  ...['lag', 'lead', 'first_value', 'last_value', 'nth_value'],
  ...['abs', 'ceil', 'ceiling', 'floor', 'round', 'trunc', 'sign', 'mod', 'div', 'sqrt'],
  ...['date_trunc', 'date_part', 'extract', 'date_bin', 'timezone', 'age', 'now', 'isfinite'],
  ...['make_interval', 'make_date', 'make_timestamptz', 'justify_days', 'justify_hours', 'overlaps'],
  ...['length', 'char_length', 'lower', 'upper', 'left', 'right', 'btrim', 'starts_with', 'generate_series'],
];

/** Arguments that an operator, a cast or a function may have. */
export const ASKABLE_TYPES: readonly string[] = [
  ...[
    'bool',
    'int2',
    'int4',
    'int8',
    'float4',
    'float8',
    'numeric',
    'text',
    'varchar',
    'bpchar',
    'name',
    'uuid',
  ],
  ...['timestamptz', 'timestamp', 'date', 'time', 'interval'],
  ...['any', 'anyelement', 'anycompatible'],
];
