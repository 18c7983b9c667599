//! Any bytes as a proposal: no panic; what is read is written so that it is read again; nothing unsigned is accepted; what
//! it would change can be printed.

use trust::proposal::Proposal;

pub fn run(bytes: &[u8]) {
    let proposal = match Proposal::read(bytes) {
        Ok(proposal) => proposal,
        Err(problem) => return assert!(!problem.to_string().chars().any(char::is_control), "{problem}"),
    };
    let _ = proposal.plans();
    let _ = proposal.digest();
    if let Ok(missing) = proposal.missing(None) {
        let _ = proposal.differences(None);
        // Nobody gave the fuzzer a key: only a proposal without a quorum could be complete, and there is none.
        assert!(!missing.is_empty() && !proposal.is_complete(None));
    }
    if let Ok(again) = Proposal::read(&proposal.to_bytes()) {
        assert_eq!(again.digest(), proposal.digest());
    }
}
