//! Who is given the addresses that services are connected to from. A recorder outlasts the runs of the services that name it,
//! until the configuration no longer has it.

mod queue;
mod writer;

use std::{net::IpAddr, sync::Arc};

use futures_util::future::join_all;
use rtun_control::{PluginSetupError, Record, RecorderCalls, RecorderStatus};
use rtun_settings::{RecorderSettings, Recording};

use self::{queue::RecordQueue, writer::Writer};
use crate::runtime::machine::Machine;

/// All recorders of a process.
#[derive(Default)]
pub(crate) struct RecorderBook(Vec<RunningRecorder>);

struct RunningRecorder {
    settings: RecorderSettings,
    calls: Arc<RecorderCalls>,
    queue: Arc<RecordQueue>,
    writer: Writer,
}

/// The recorders of one service.
#[derive(Default)]
pub(crate) struct ServiceRecorders(Vec<(Arc<RecordQueue>, Arc<str>)>);

/// A recorder cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
#[error("recorder {name:?}: {source}")]
pub struct RecorderError {
    /// Its name.
    pub name: String,
    /// Why not.
    pub source: PluginSetupError,
}

/// The recorders as reports see them.
#[derive(Default)]
pub(crate) struct RecorderView(Vec<(Arc<RecorderCalls>, Arc<RecordQueue>)>);

impl RecorderBook {
    /// Starts the recorders of these that do not run yet, or none.
    pub(crate) fn begin<'a>(
        &mut self,
        recordings: impl Iterator<Item = &'a Recording>,
        machine: &Machine,
    ) -> Result<(), RecorderError> {
        let mut new: Vec<(RecorderSettings, RecorderCalls)> = Vec::new();
        for Recording { recorder, .. } in recordings {
            if self.find(recorder).is_some() || new.iter().any(|(other, _)| other == recorder) {
                continue;
            }
            let calls = RecorderCalls::new(recorder)
                .map_err(|source| RecorderError { name: recorder.name.clone(), source })?;
            new.push((recorder.clone(), calls));
        }
        for (settings, calls) in new {
            let (calls, queue) = (Arc::new(calls), Arc::new(RecordQueue::default()));
            let writer = Writer::start(Arc::clone(&calls), Arc::clone(&queue), machine);
            self.0.push(RunningRecorder { settings, calls, queue, writer });
        }
        Ok(())
    }

    /// Ends the recorders that none of these names: they are given what is left first.
    pub(crate) async fn keep<'a>(
        &mut self,
        recordings: impl Iterator<Item = &'a Recording> + Clone,
    ) {
        let is_named = |running: &RunningRecorder| {
            recordings.clone().any(|recording| recording.recorder == running.settings)
        };
        let (kept, ended): (Vec<_>, _) =
            std::mem::take(&mut self.0).into_iter().partition(is_named);
        self.0 = kept;
        let ended: Vec<_> = ended;
        join_all(ended.into_iter().map(|running| running.writer.end())).await;
    }

    /// Those of a service that names these.
    pub(crate) fn of(&self, recordings: &[Recording]) -> ServiceRecorders {
        let found = recordings.iter().filter_map(|Recording { recorder, metadata }| {
            Some((Arc::clone(&self.find(recorder)?.queue), Arc::clone(metadata)))
        });
        ServiceRecorders(found.collect())
    }

    /// Gives all what is left, and ends them.
    pub(crate) async fn end(&mut self) {
        self.keep([].iter()).await;
    }

    /// The recorders as reports see them.
    pub(crate) fn view(&self) -> RecorderView {
        let view = |it: &RunningRecorder| (Arc::clone(&it.calls), Arc::clone(&it.queue));
        RecorderView(self.0.iter().map(view).collect())
    }

    fn find(&self, settings: &RecorderSettings) -> Option<&RunningRecorder> {
        self.0.iter().find(|running| running.settings == *settings)
    }
}

impl ServiceRecorders {
    /// A connection from `client` is accepted. Never waits for a recorder.
    pub(crate) fn record(&self, client: IpAddr) {
        for (queue, metadata) in &self.0 {
            queue.add(Record::new(client, Arc::clone(metadata)));
        }
    }
}

impl RecorderView {
    /// The state of each recorder.
    pub(crate) fn status(&self) -> Vec<RecorderStatus> {
        let status = |(calls, queue): &(Arc<RecorderCalls>, Arc<RecordQueue>)| {
            let (records, dropped, waiting) = queue.counts();
            RecorderStatus { target: calls.status(waiting), records, dropped }
        };
        self.0.iter().map(status).collect()
    }
}
