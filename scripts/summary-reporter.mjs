// Ends a test run with one plain line that any reader of logs can find: "N passed, N failed, N skipped".
export default class SummaryReporter {
  onTestRunEnd(modules) {
    const counts = { passed: 0, failed: 0, skipped: 0, pending: 0 };
    let broken = 0;
    for (const module of modules) {
      if (module.state() === 'failed' && module.children.size === 0) broken++;
      for (const test of module.children.allTests()) counts[test.result().state]++;
    }
    const { passed, failed, skipped, pending } = counts;
    // After the default reporter's own summary.
    setImmediate(() =>
      console.log(`${passed} passed, ${failed + broken} failed, ${skipped + pending} skipped`),
    );
  }
}
