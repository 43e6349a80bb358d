#include "durable_counts.hpp"

#include <fmt/format.h>

namespace sapwood::simulation {

void check_counts(const pipeline_counts& counts, knowledge& known) {
    const std::uint64_t kept = counts.records_durable + counts.records_written_only;
    const std::uint64_t durable_to = to_number(counts.durable) - to_number(known.begin);
    const std::uint64_t written_to = to_number(counts.written) - to_number(known.begin);
    const bool adds_up =
        kept + counts.records_lost + counts.records_in_flight == counts.records_accepted &&
        kept <= counts.records_accepted && counts.records_in_flight <= counts.records_accepted;
    const bool fits = counts.records_durable <= durable_to && kept <= written_to &&
                      counts.records_durable + counts.records_lost >= durable_to &&
                      kept + counts.records_lost >= written_to;
    const bool is_as_told = counts.records_accepted >= known.accepted.size() &&
                            counts.records_durable >= known.durable &&
                            counts.records_lost >= known.lost;
    if (!known.wrong && !(adds_up && fits && is_as_told)) {
        known.wrong = fmt::format(
            "of {} accepted records {} are counted as durable, {} as written only, {} as lost and "
            "{} in flight; {} numbers are durable, {} written; {} were told to be durable, {} lost",
            counts.records_accepted, counts.records_durable, counts.records_written_only,
            counts.records_lost, counts.records_in_flight, durable_to, written_to, known.durable,
            known.lost);
    }
}

std::optional<std::string> check_losses(const life_result& lived, const account& told) {
    const pipeline_counts& counts = *lived.counts;
    const auto& accepted = lived.known.accepted;
    std::uint64_t missing = 0;
    for (const accepted_record& each : accepted) {
        missing += told.is_found(each.producer, each.number) ? 0 : 1;
    }
    // Where a sync or a close has failed, more may be there than was promised.
    if (missing > counts.records_lost || (lived.is_closed_well && missing < counts.records_lost)) {
        return fmt::format("{} of {} accepted records are not in the log, and {} were reported as "
                           "lost",
                           missing, accepted.size(), counts.records_lost);
    }
    return std::nullopt;
}

std::optional<std::string> check_account(const life_result& lived) {
    const pipeline_counts& counts = *lived.counts;
    const auto& accepted = lived.known.accepted;
    if (counts.records != accepted.size() || counts.records_accepted != accepted.size() ||
        counts.records_refused != lived.known.refused || counts.records_in_flight != 0) {
        return fmt::format("{} records were accepted and {} refused; counted are {} and {}, and {} "
                           "in flight",
                           accepted.size(), lived.known.refused, counts.records_accepted,
                           counts.records_refused, counts.records_in_flight);
    }
    if (lived.is_closed_well && (counts.durable != counts.accepted ||
                                 counts.records_durable != accepted.size() - counts.records_lost)) {
        return fmt::format("the log was closed, and of {} numbers {} are durable, {} records",
                           to_number(counts.accepted), to_number(counts.durable),
                           counts.records_durable);
    }
    return std::nullopt;
}

} // namespace sapwood::simulation
