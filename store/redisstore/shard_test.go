package redisstore

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestShardsAreSpreadEvenlyOverTheSlots(t *testing.T) {
	const slots = 16384
	var taken []int
	for _, tag := range tags {
		taken = append(taken, crc16(tag)%slots)
	}
	slices.Sort(taken)
	for i, slot := range taken {
		require.InDelta(t, (float64(i)+0.5)*slots/float64(len(tags)), slot, 20, "so that any number of nodes gets its share")
	}
}

// crc16 is how a cluster finds the slot of a hash tag (XMODEM; Redis Cluster
// specification, appendix A).
func crc16(tag string) int {
	crc := uint16(0)
	for _, b := range []byte(tag) {
		crc ^= uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc)
}

func TestTimesOrderAsTextAndAreReadBack(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	times := []time.Time{{}, at, at.Add(1), at.Add(time.Second), at.AddDate(200, 0, 0)}
	var texts []string
	for _, x := range times {
		texts = append(texts, timeText(x))
		require.Len(t, timeText(x), timeSize)
	}
	require.True(t, slices.IsSorted(texts))
	back, err := parseTime(timeText(at))
	require.NoError(t, err)
	require.True(t, at.Equal(back))
}
