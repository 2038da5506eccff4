package boltstore

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
)

// whole is an intent of which every field is set, each that can be changed by way of what
// it refers to as well.
func whole(t *testing.T) intent.Intent {
	t.Helper()
	var in intent.Intent
	set(t, reflect.ValueOf(&in).Elem())
	in.Result, in.Request = json.RawMessage(`{"a":1}`), nil
	return in
}

func set(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Struct:
		if _, ok := v.Interface().(time.Time); ok {
			v.Set(reflect.ValueOf(time.Unix(1_800_000_000, 0).UTC()))
			return
		}
		for _, field := range v.Fields() {
			set(t, field)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		set(t, v.Elem())
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("k"), reflect.ValueOf("v"))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Array:
		reflect.Copy(v, reflect.ValueOf([]byte{1, 2, 3}))
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Float64:
		v.SetFloat(0.5)
	default:
		require.Fail(t, "an intent has a field of a new kind", "%s", v.Type())
	}
}

// references are where what v refers to is.
func references(v reflect.Value, found map[uintptr]string, path string) {
	switch v.Kind() {
	case reflect.Struct:
		if _, ok := v.Interface().(time.Time); ok {
			return
		}
		for i := range v.NumField() {
			references(v.Field(i), found, path+"."+v.Type().Field(i).Name)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			found[v.Pointer()] = path
			references(v.Elem(), found, path)
		}
	case reflect.Map, reflect.Slice:
		if v.Len() > 0 {
			found[v.Pointer()] = path
		}
	}
}

func TestIntentsThatAreReadTwiceShareNothing(t *testing.T) {
	in := whole(t)
	first, second := make(map[uintptr]string), make(map[uintptr]string)
	out := apart(&in)
	require.Equal(t, in, out)
	references(reflect.ValueOf(in), first, "Intent")
	references(reflect.ValueOf(out), second, "Intent")
	require.GreaterOrEqual(t, len(first), 6)
	for at, path := range second {
		require.NotContains(t, first, at, path)
	}
}

func TestWhatWasDecodedBeforeIsWhatIsStored(t *testing.T) {
	in := whole(t)
	d := new(decodings)
	origin, err := encodeOrigin(&in)
	require.NoError(t, err)
	for _, progress := range []float64{1, 2, 2, 1} {
		in.Progress = new(progress)
		text, err := encodeLatest(&in)
		require.NoError(t, err)
		for _, request := range [][]byte{nil, []byte("body"), []byte("other")} {
			want, err := decodeIntent(in.ID, origin, request, text)
			require.NoError(t, err)
			got, err := d.decode(in.ID, origin, request, text)
			require.NoError(t, err)
			require.Equal(t, want, got)
			got.Params["k"], *got.Progress = "spoiled", 99
		}
	}
	other := in
	other.ID[0]++ // of the same place
	want, err := decodeIntent(other.ID, origin, nil, []byte(`{"status":"FAILED"}`))
	require.NoError(t, err)
	got, err := d.decode(other.ID, origin, nil, []byte(`{"status":"FAILED"}`))
	require.NoError(t, err)
	require.Equal(t, want, got)
	_, err = d.decode(in.ID, origin, nil, []byte(`{"status":`))
	require.Error(t, err)
}
