#include "uring_features.hpp"

#include "sqe_calls.hpp"

#include <liburing.h>

namespace sapwood::detail {

namespace {

using state = ring_feature::state;

// Newer than liburing 2.3's header.
constexpr unsigned feature_bundle = 1u << 14;
constexpr unsigned feature_min_timeout = 1u << 15;
constexpr unsigned feature_no_iowait = 1u << 17;

constexpr state used_if(bool there) noexcept {
    return there ? state::used : state::missing;
}

constexpr state there_if(bool there) noexcept {
    return there ? state::available : state::missing;
}

} // namespace

/// The figures are of docs/rings.md, where the commands that make them stand.
std::vector<ring_feature> uring_features(const uring_facts& facts) {
    const auto setup = [&](unsigned bit) { return used_if((facts.setup & bit) != 0); };
    const auto feature = [&](unsigned bit) { return (facts.features & bit) != 0; };
    const auto opcode = [&](unsigned number) { return (facts.opcodes >> number & 1) != 0; };
    return {
        {"SINGLE_ISSUER", setup(IORING_SETUP_SINGLE_ISSUER), "6.0",
         "the kernel expects several threads to submit; not measured"},
        {"DEFER_TASKRUN", setup(IORING_SETUP_DEFER_TASKRUN), "6.1",
         "completions are run whenever the kernel gets to it, in the middle of a task too, not "
         "when the loop asks for them; not measured"},
        {"SUBMIT_ALL", setup(IORING_SETUP_SUBMIT_ALL), "5.18",
         "operations behind one that the kernel refuses wait for the next system call"},
        {"registered ring descriptor", used_if(facts.ring_fd_is_registered), "5.18",
         "the kernel looks up the ring's descriptor at each system call; not measured"},
        {"EXT_ARG", used_if(feature(IORING_FEAT_EXT_ARG)), "5.11",
         "a timeout SQE for each wait with a deadline, some 60 ns or more"},
        {"FTRUNCATE", used_if(opcode(opcode_ftruncate)), "6.9",
         "a thread truncates files: two changes of threads, some 10 us each time"},
        // No bit tells of these three; SOCKET and SEND_ZC came with the same releases.
        {"multishot accept", used_if(opcode(IORING_OP_SOCKET)), "5.19",
         "an SQE for each connection, some 60 ns or more"},
        {"multishot receive", used_if(opcode(IORING_OP_SEND_ZC)), "6.0",
         "an SQE for each receive, some 60 ns or more"},
        {"provided buffer rings", used_if(facts.has_buffer_rings), "5.19",
         "receive() waits for readiness and then receives into an allocation; not measured"},
        {"send_zc", there_if(opcode(IORING_OP_SEND_ZC)), "6.0",
         "what is sent is copied into the kernel; not measured"},
        {"WAITID", used_if(opcode(opcode_waitid)), "6.7",
         "the end of a process is told by a pidfd and a system call"},
        {"RECVSEND_BUNDLE", there_if(feature(feature_bundle)), "6.10",
         "a completion for each buffer; not measured"},
        {"min-wait", there_if(feature(feature_min_timeout)), "6.12",
         "a wait ends with the first completion and cannot collect several; not measured"},
        {"NO_IOWAIT", used_if(feature(feature_no_iowait)), "6.15",
         "a loop that only waits shows up as time in iowait; it takes no processor time"},
    };
}

} // namespace sapwood::detail
