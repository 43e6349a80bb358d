// What producers have been told of their records, and whether what is found after a crash agrees:
// everything acknowledged is there, nothing comes out of nowhere, each producer's records are in
// order, and what is there twice is the same record. A record's line is `p<producer> <number>
// <filler> <check>`. For one simulated machine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::simulation {

class account {
  public:
    enum class state : std::uint8_t {
        /// Nobody has been told anything of it.
        in_flight,
        written,
        durable,
        /// It was refused, or nobody knows what became of it. It may be there all the same.
        refused,
        /// It was reported as lost: it must not be there.
        lost,
        /// It was acknowledged, and then somebody has cut it off: it may be there all the same.
        forgiven,
    };

    /// The next record of a producer: its line, without a newline.
    [[nodiscard]] std::string next_line(std::uint32_t producer, std::size_t filler_bytes);

    [[nodiscard]] std::uint32_t last_number(std::uint32_t producer) const;

    /// What is forgiven stays so.
    void tell(std::uint32_t producer, std::uint32_t number, state what);

    /// Somebody has destroyed what was there: all that has been acknowledged.
    void forgive();

    /// What was only in the kernel may be gone from now on.
    void power_was_cut();

    /// The same after a kill: what a sync could not write is gone. `elsewhere` are lines that stand
    /// in a file of which nothing is.
    void pages_were_dropped(std::string_view elsewhere);

    struct rules {
        /// Records at this level or a higher one must be there.
        state kept = state::durable;
        /// Whether pieces of lines may be there, of what was never acknowledged.
        bool may_be_torn = false;
        bool in_any_order = false;
    };

    /// What is wrong with `text`, all of the log in order; nothing where all is well.
    [[nodiscard]] std::optional<std::string> objection(std::string_view text, const rules& wanted);

    [[nodiscard]] std::size_t count(state what) const;

    /// Whether the last look found the record.
    [[nodiscard]] bool is_found(std::uint32_t producer, std::uint32_t number) const {
        return producers_[producer].found[number];
    }

  private:
    struct producer_records {
        std::vector<state> states; // by number
        std::vector<std::uint32_t> fillers;
        std::vector<bool> found;
        std::uint32_t last_found = 0;
    };

    static void render(std::string& into, std::uint32_t producer, std::uint32_t number,
                       std::uint32_t filler);
    [[nodiscard]] bool take(std::string_view line, std::optional<std::string>& wrong);

    std::vector<producer_records> producers_;
    std::string scratch_;
};

} // namespace sapwood::simulation
