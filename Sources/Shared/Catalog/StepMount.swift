/// One mount of a fragment's RUN steps.
package struct StepMount: Sendable, Hashable {
  /// `bind`, `cache`, `tmpfs`, `secret`, …
  package var type: String
  package var source: String?
  package var target: String?
  package var from: String?
  package var id: String?
}

extension Fragment {
  package var stepMounts: [StepMount] {
    text.instructions.flatMap(\.mounts).map { mount in
      StepMount(
        type: mount.type, source: mount["source", "src"], target: mount["target", "dst", "destination"],
        from: mount["from"], id: mount["id"])
    }
  }
}
