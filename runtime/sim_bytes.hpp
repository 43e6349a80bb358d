// The bytes of one simulated file, twice: as the kernel has them, which is what a read sees, and as
// the disk has them. Between the two are the changes that no sync has made durable. Of those a
// power cut keeps what it likes, by these rules, which allow more than ext4 (data=ordered, delayed
// allocation; Documentation/filesystems/ext4) does:
//
//  - A sector of 512 bytes is written whole or not at all. It may be as any of the changes to it
//    left it, or as the disk had it, whatever becomes of other sectors and of the length: pages are
//    written back in any order.
//  - The length is that after some of the changes, taken in order, and within the last of them any
//    byte of it. A sector below it that was not written reads as zeros where the disk had none.
//    What one of those changes has cut off does not come back; the rest of a block (4096 bytes)
//    that was cut may be zeroed on the disk before the file is shorter.
//  - A sync makes durable what was there when it began; it may take more.
//  - A sync that fails leaves what it had not written clean: reads see it, no later sync writes it.
//    That the file was made shorter stays to be synced, as metadata do: a power cut may undo it.
//
// Loop thread only.
#pragma once

#include <sapwood/sim_random.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::detail {

class sim_bytes {
  public:
    static constexpr std::size_t sector_bytes = 512;

    [[nodiscard]] std::size_t size() const noexcept { return cached_.size(); }

    [[nodiscard]] std::string_view cached() const noexcept {
        return {cached_.data(), cached_.size()};
    }

    /// What survives a power cut for sure, apart from what is not synced and may survive as well.
    [[nodiscard]] std::string_view durable() const noexcept { return {disk_.data(), disk_.size()}; }

    /// Whether anything waits for a sync.
    [[nodiscard]] bool is_dirty() const noexcept { return !changes_.empty(); }

    void write(std::size_t at, std::span<const char> bytes);
    void resize(std::size_t size);

    /// What a sync that begins now has to make durable.
    [[nodiscard]] std::uint64_t mark() const noexcept { return changes_before_ + changes_.size(); }

    /// A sync that began at `mark` has succeeded.
    void sync(std::uint64_t mark);

    /// Of the bytes from `begin` to `end` alone, with the length as it is at `end` at least: a
    /// write with RWF_DSYNC.
    void sync_range(std::size_t begin, std::size_t end);

    /// A sync has failed: by chance some sectors were written, the others never will be.
    void lose(sim_random& chance);

    /// Power is cut.
    void cut(sim_random& chance);

    /// The kernel forgets pages that are clean, so that reads see the disk. Whether they see
    /// something else then: what a sync that failed had lost.
    bool evict();

    /// Why a power cut cannot leave `found`; nothing where it can.
    [[nodiscard]] std::optional<std::string> objection(std::string_view found) const;

    void clear() noexcept;

  private:
    /// One that the disk perhaps has not. Holds what undoes it.
    struct change {
        /// Where a write is, or what a cut zeroes; `begin` equals `end` where the length alone
        /// changes.
        std::size_t begin;
        std::size_t end;
        std::size_t size_before;
        std::size_t size_after;
        /// What it has overwritten or cut off, in undo_, from `begin` on.
        std::size_t undo_at;
        std::size_t undo_size;
    };

    /// Its length may be any between the two.
    [[nodiscard]] static bool grows_by_write(const change& made) noexcept {
        return made.size_after > made.size_before && made.begin != made.end;
    }

    /// Synced by itself, and so to be taken from the disk where only earlier changes remain.
    struct synced_range {
        std::size_t begin;
        std::size_t end;
        std::uint64_t changes;
    };

    /// Walks from the newest of the first `newest` changes to the oldest and calls
    /// `version(sector, text)` for each state that a sector may be in; zeros follow `text`. Of
    /// changes of the length the first `kept` count. Sectors that no change has touched are not
    /// told.
    template <class Version>
    void visit_versions(std::size_t kept, std::size_t newest, Version&& version) const;
    [[nodiscard]] std::uint64_t synced_at(std::size_t sector) const noexcept;
    [[nodiscard]] std::string_view disk_version(std::size_t sector,
                                                std::size_t kept) const noexcept;
    void write_back(std::size_t sector);
    void clear_cut_off(std::size_t index);
    void forget_changes() noexcept;

    std::vector<char> cached_;
    std::vector<char> disk_;
    std::vector<change> changes_;
    std::vector<char> undo_;
    std::vector<synced_range> synced_;
    /// Changes that are over and not in changes_.
    std::uint64_t changes_before_ = 0;
    /// So many of changes_ have their length on the disk already.
    std::size_t sized_ = 0;
};

} // namespace sapwood::detail
