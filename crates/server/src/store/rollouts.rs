//! Rollouts as people list them: a stand-in until the rollouts' own store takes its place.

/// Rollouts.
pub mod list {
    use jiff::Timestamp;
    use serde::Serialize;
    use utoipa::ToSchema;

    /// A rollout in a list.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
    #[schema(as = ListedRollout)]
    #[expect(missing_docs, reason = "a stand-in")]
    pub struct Listed {
        pub plan: String,
        pub title: String,
        pub environment: String,
        pub state: String,
        pub state_text: String,
        #[schema(value_type = String, format = DateTime)]
        pub changed_at: Timestamp,
        pub hosts: u32,
        pub proven: u32,
    }
}

/// Jobs of a rollout.
pub mod job_list {
    use rollout::plan::HostId;
    use serde::Serialize;
    use utoipa::ToSchema;

    /// Which jobs are wanted.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    #[expect(missing_docs, reason = "a stand-in")]
    pub struct JobFilter {
        pub wave: Option<usize>,
        pub counts: Option<String>,
        pub state: Option<String>,
        pub after: Option<HostId>,
    }

    /// A host's name and id.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
    #[schema(as = RolloutHost)]
    #[expect(missing_docs, reason = "a stand-in")]
    pub struct Named {
        pub id: String,
        pub name: String,
    }

    /// A host's job.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
    #[schema(as = RolloutJob)]
    #[expect(missing_docs, reason = "a stand-in")]
    pub struct Listed {
        pub host: Named,
    }

    /// A host's job with its reports.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
    #[schema(as = RolloutJobDetail)]
    #[expect(missing_docs, reason = "a stand-in")]
    pub struct Detailed {
        #[serde(flatten)]
        pub job: Listed,
    }
}
