//! Deliberate defects, which prove that the simulation finds them. They exist in builds with `--cfg rejoin_defects` only,
//! which `cargo xtask mutants` makes; everywhere else `defect!` is the word `false`.

/// Whether a defect was planted.
#[cfg(not(rejoin_defects))]
macro_rules! defect {
    ($name:ident) => {
        false
    };
}

/// Whether a defect was planted.
#[cfg(rejoin_defects)]
macro_rules! defect {
    ($name:ident) => {
        $crate::defect::is_planted($crate::defect::Defect::$name)
    };
}

#[cfg(rejoin_defects)]
mod planted {
    use std::cell::Cell;

    macro_rules! defects {
        ($($name:ident $words:literal,)*) => {
            /// What can be wrong on purpose.
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            #[allow(missing_docs, reason = "the words beside each variant")]
            pub enum Defect { $($name),* }
            impl Defect {
                /// All of them.
                pub const ALL: &[Self] = &[$(Self::$name),*];
                /// What is wrong, in half a sentence.
                pub const fn words(self) -> &'static str {
                    match self { $(Self::$name => $words),* }
                }
            }
        };
    }

    defects! {
        ResendWithoutDup "a PUBLISH sent again has no DUP",
        DupOnFirstSend "a first PUBLISH has DUP",
        PubrelForgotten "PUBREL is not sent again after a reconnect",
        PublishAfterPubrel "after a reconnect a released message goes out as PUBLISH again",
        Qos1DroppedOnLoss "QoS 1 in flight is not sent again after a reconnect",
        ResendReversed "resends go out in the reverse order",
        DroppedOnSessionLoss "messages in flight are dropped when the session is lost",
        RequeueReversed "messages of a lost session are queued again in the reverse order",
        ReleasedCalledDelivered "released but unconfirmed is called delivered when the session is lost",
        ReleasedSentAgain "released but unconfirmed is sent again, without a word, when the session is lost",
        SilentDuplicate "sent again after a lost session without owning up to it",
        IdReusedInFlight "an identifier is taken though an exchange has it",
        IdLeaked "an identifier is not given back after PUBACK",
        WindowIgnored "the send quota is not looked at",
        QuotaGivenTwice "PUBREC gives the quota back, and PUBCOMP once more",
        PublishBeforeDurable "QoS 2 PUBLISH leaves before its identifier is on the store",
        PubrelBeforeDurable "PUBREL leaves before PUBREC is on the store",
        PubrecBeforeDurable "PUBREC leaves before the message is on the store",
        PubcompBeforeDurable "PUBCOMP leaves before the store knows that the identifier is free",
        ConnectBeforeDurable "CONNECT leaves before the store knows",
        SessionBeforeDurable "packets of a new session leave before the store knows of it",
        StoredBeforeDurable "a message is called stored before it is",
        PubackBeforeTaken "PUBACK leaves before the application took the message",
        PubrecBeforeTaken "with the memory store PUBREC leaves before the application took the message",
        InboundIdsForgotten "inbound QoS 2 identifiers are forgotten with the link",
        InboundIdsForgottenOnRestart "inbound QoS 2 identifiers are forgotten with the process",
        StaleAckSent "an acknowledgement of an earlier link is sent on the next one",
        BackoffResetEarly "any link that opened resets the back-off",
        BudgetIgnored "the budget of attempts is not looked at",
        OverloadNotWaited "an overloaded broker is asked again at once",
        NotResubscribed "subscriptions are not restored when the session is lost",
        ReadyBeforeSuback "ready is told before SUBACK",
        SessionPresentTrusted "Session Present is believed after a CONNACK that was never seen",
        NoConnackTimeout "CONNACK is waited for without a limit",
        PingrespIgnored "a missing PINGRESP is not noticed",
        AckTimeoutIgnored "missing acknowledgements are not noticed",
        WriteStallIgnored "a socket that takes no bytes is not noticed",
        NoPings "nothing is sent on an idle link",
        QueueLostOnRestart "waiting messages are forgotten with the process",
        PubrecForgottenOnRestart "PUBREC is forgotten with the process",
        FinishedAtPubrec "QoS 2 ends at PUBREC",
        SessionLossForgotten "the beginning of a session is not on the store",
        CleanStartEachTime "each CONNECT asks for a clean start",
        StaleSessionKept "a new process without state goes on with the session of the old one",
        SessionTakenElsewhere "a session that another server has is gone on with",
        BegunCleanElsewhere "at 3.1.1 a kept session is begun clean at another server, and ends with its link",
        HomeForgotten "a new process does not begin at the server that has its session",
        ChosenIdForgotten "the client id that the server chose is not named on the next link",
        ChosenIdNotStored "the client id that the server chose is forgotten with the process",
        NoAnswerAtShutdown "messages have no answer when the client stops",
        ExpiresAfterSend "a message that was sent expires",
        CancelledAfterSend "a message that was sent is called cancelled",
        StoreLostCountsAsDurable "what a store that takes nothing more was given counts as safe",
        StoredThoughStoreLost "a message is called stored though the store takes nothing more",
        UnwrittenBodiesForgotten "bodies that a lost store never wrote are not taken back",
        PubrecBeforeTakenInMemory "without its store, PUBREC leaves before the application took the message",
        PubrecAgainBeforeDurable "PUBREC for a copy leaves before the message is on the store",
        ReceiveOverrunTaken "a server that overruns our Receive Maximum is not noticed",
        OversizedTaken "a server that overruns our Maximum Packet Size is not noticed",
        AliasOverrunTaken "a server that overruns our Topic Alias Maximum is not noticed",
        MemoryWindowIgnored "all bodies stay in memory though a store has them",
        WriteBufferIgnored "messages are encoded though the transport takes nothing",
        EndedExchangesKept "exchanges that ended are kept behind one that did not",
        UnpackedReversed "messages that waited without a link go out in the reverse order",
        RenewedLoginForgotten "renewed credentials are not used",
        NoChangeOver "the link does not change over to renewed credentials",
        DowngradeNotUnderstood "PUBACK for a QoS 2 message is no answer",
        DowngradeNotTold "the receipt does not say that the broker made QoS 1 of QoS 2",
        DowngradeAlwaysTold "every receipt says that the broker made QoS 1 of QoS 2",
        QuarantineNotWaited "a link that died of one message and was not stable is replaced at once",
        UnsubscribeForgotten "an UNSUBSCRIBE lost with the link is not sent again",
        LoweredUnderItsIdentifier "a message that left at QoS 2 is lowered to QoS 1 under the identifier it had",
        LoweredThoughOffered "a message is lowered to QoS 1 though the broker offers QoS 2",
        HeldThoughReused "an inbound QoS 2 identifier stays held though the broker uses it for QoS 1",
        LeftAnsweredLate "what was left is answered behind what came after it",
        AnsweredForgotten "a message that was answered is dropped because nobody is there to take it",
        HeldTakenForCopy "an inbound QoS 2 identifier stays held though the broker, come back, uses it for another message",
        FleetTogether "a fleet that lost its broker comes back at once and not spread",
        NoJitter "every wait is as long as its window",
        WindowNotGrowing "the window of waits does not grow with the failures",
        WindowWideAtOnce "the first wait is drawn from the widest window",
        HeldDigestForgotten "what was taken of an inbound QoS 2 exchange is forgotten with the process",
        CopyAnsweredApart "a copy of a QoS 1 message that has no PUBACK yet is a message of its own",
        AliasOfAnotherTopic "a PUBLISH leaves with the topic alias of another topic",
        AliasTakenForAnother "a topic alias of the server is taken for another topic",
        RedirectNotFollowed "a server that names another one is asked again",
        ProofNeverOver "an exchange of AUTH on an open link is never over",
        ProofWithinProof "an exchange of AUTH begins while another one is under way",
        AuthByAnotherMethod "AUTH leaves with another method than CONNECT",
        AuthTimeoutIgnored "a missing answer to AUTH on an open link is not noticed",
        ChallengeOpenBehindConnack "a challenge that CONNACK overtook stays open",
        ProofOfConnackNotTold "the proof in CONNACK is not told",
    }

    thread_local! {
        static PLANTED: Cell<Option<Defect>> = const { Cell::new(None) };
    }

    /// From now on engines of this thread have this defect, or none.
    pub fn plant(defect: Option<Defect>) {
        PLANTED.set(defect);
    }

    pub(crate) fn is_planted(defect: Defect) -> bool {
        PLANTED.get() == Some(defect)
    }
}

#[cfg(rejoin_defects)]
pub(crate) use planted::is_planted;
#[cfg(rejoin_defects)]
pub use planted::{Defect, plant};
