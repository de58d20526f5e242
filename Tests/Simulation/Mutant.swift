/// A mistake that somebody could make in Kiln, made on purpose: the simulator must find it.
struct Mutant: Sendable, CustomStringConvertible {
  var description: String
  /// In whichever statement has it. Empty: no statement is changed.
  var text = ""
  var replacement = ""
  /// Only in this procedure.
  var procedure: String?
  var acknowledgesOnDelivery = false
  var requeues = false
  /// Within so many seeds, from 1 on, one must find it.
  var seeds = 60

  static let all: [Mutant] = [
    Mutant(description: "acknowledge before commit", acknowledgesOnDelivery: true),
    Mutant(description: "nack with requeue", requeues: true),
    Mutant(
      description: "claim whatever state the job is in", text: "AND state IN ('ready', 'queued')", replacement: "",
      procedure: "claim"),
    Mutant(
      description: "claim without a new attempt number", text: "attempt = attempt + 1",
      replacement: "attempt = attempt",
      procedure: "claim"),
    Mutant(
      description: "complete a layer without the fence",
      text: "id = $1 AND attempt = $2 AND nonce = $3 AND state = 'running'",
      replacement: "id = $1 AND state = 'running'", procedure: "complete_layer"),
    Mutant(
      description: "tag before the commit", text: "FROM jobs j WHERE j.id = $1 AND EXISTS",
      replacement: "FROM jobs j WHERE j.id = $1 OR 1 = 0 AND EXISTS", procedure: "complete_layer"),
    Mutant(
      description: "record before the commit", text: "AND j.cell_key IS NOT NULL AND EXISTS",
      replacement: "AND j.cell_key IS NOT NULL OR 1 = 0 AND EXISTS", procedure: "complete_cell"),
    Mutant(
      description: "mark whatever is dispatched", text: "WHERE id = $1 AND dispatch = $2 AND state IN ('ready')",
      replacement: "WHERE id = $1 AND $2 = $2 AND state IN ('ready')", seeds: 400),
    Mutant(
      description: "mark what runs already", text: "dispatch = $2 AND state IN ('ready')",
      replacement: "dispatch = $2 AND state IN ('ready', 'running')"),
    Mutant(
      description: "the reaper makes ready at once", text: "UPDATE jobs SET state = $9,",
      replacement: "UPDATE jobs SET state = CASE WHEN $12 = 1 THEN 'ready' ELSE $9 END,", procedure: "fail"),
    Mutant(
      description: "nobody looks for leases that are out",
      text: "WHERE state = 'running' AND lease_until < kiln_now() ORDER",
      replacement: "WHERE state = 'running' AND lease_until < 0 ORDER"),
    Mutant(
      description: "children are not released", text: "UPDATE jobs SET state = 'ready', waits_on = NULL\nWHERE id IN",
      replacement: "UPDATE jobs SET waits_on = waits_on\nWHERE id IN", procedure: "complete_layer"),
    Mutant(
      description: "a lost layer is built without a new generation",
      text: "UPDATE layers SET state = 'building', generation = generation + 1,",
      replacement: "UPDATE layers SET state = 'building',", procedure: "parent_lost"),
    Mutant(
      description: "ghosts stay", text: "AND g.queued_at < kiln_now() - $2", replacement: "AND g.queued_at < 0"),
    Mutant(
      description: "an older build moves a tag back", text: "WHERE tags.sequence <= excluded.sequence", replacement: ""),
    Mutant(
      description: "a replay without a new generation",
      text: "SET state = $3, generation = generation + 1, job_id = $4, cause = $5",
      replacement: "SET state = $3, job_id = $4, cause = $5"),
    Mutant(
      description: "a replay revives no build",
      text: "UPDATE builds SET state = $2, problem = NULL, finished_at = NULL",
      replacement: "UPDATE builds SET problem = CASE WHEN $2 = '' THEN '' END"),
    Mutant(
      description: "a cancelled build takes what another wants",
      text: "p.layer_key = l.key AND w.state IN ('accepted', 'running')",
      replacement: "p.layer_key = l.key AND w.state = 'nobody'"),
    Mutant(
      description: "a cancelled job is tried again", text: "AND state = 'running' AND cancel_requested = 1",
      replacement: "AND state = 'running' AND cancel_requested = 2", procedure: "give_back"),
    Mutant(
      description: "a dead job without its letter", text: "j.pool || ' ' || $13, kiln_now() FROM jobs j",
      replacement: "j.pool || ' ' || $13, kiln_now() FROM jobs j JOIN pools n ON n.name = 'nobody'", procedure: "fail"),
  ]
}
